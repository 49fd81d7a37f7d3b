"""The first signal stops work cleanly; the second one ends the process at once."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time

import pytest

from captune.stopping import (
    Stopped,
    exit_code,
    hold_signals,
    ignore_signals,
    signals_stop,
    starting_workers,
    survive_signals,
)

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def _listening_to_signals() -> object:
    # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; this may be one.
    before = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGHUP, signal.SIG_DFL),
        )
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run_python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        [sys.executable, "-c", script], env=own, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_raises_stopped_with_its_exit_code(number: signal.Signals, code: int) -> None:
    before = [signal.getsignal(each) for each, _ in SIGNALS]
    with pytest.raises(Stopped) as caught, signals_stop():
        signal.raise_signal(number)
    assert exit_code(caught.value) == code
    assert str(caught.value) == f"stopped by {number.name}"
    assert [signal.getsignal(each) for each, _ in SIGNALS] == before


class _SignalsWhenDeleted:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def _signal_when_collected(phase: str, _info: dict[str, int]) -> None:
    if phase == "start":
        gc.callbacks.remove(_signal_when_collected)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("place", ["finalizer", "garbage collection", "both"])
def test_a_signal_stops_the_body_although_it_arrives_where_python_drops_exceptions(
    place: str,
) -> None:
    before = sys.unraisablehook
    rounds = 0
    with pytest.raises(Stopped) as caught, signals_stop():
        if place != "garbage collection":
            _SignalsWhenDeleted()
        if place != "finalizer":
            gc.callbacks.append(_signal_when_collected)
            gc.collect()
        for rounds in range(1000):  # noqa: B007
            time.sleep(0.01)
    assert exit_code(caught.value) == 130
    assert rounds < 999
    assert sys.unraisablehook is before


def test_other_exceptions_that_python_drops_are_reported_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fails:
        def __del__(self) -> None:
            raise OSError("closed twice")

    reported: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: reported.append(str(lost.exc_value)))
    with signals_stop():
        Fails()
    assert reported == ["closed twice"]


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_a_held_signal_is_seen_by_the_body_and_raised_at_its_end(number: signal.Signals) -> None:
    steps = []
    with pytest.raises(Stopped) as caught, signals_stop(), hold_signals() as held:
        signal.raise_signal(number)
        steps.append(held.number)
    assert steps == [number]
    assert caught.value.number == number


def test_without_a_command_line_ctrl_c_stays_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, hold_signals() as held:
        signal.raise_signal(signal.SIGINT)
        assert held.number == signal.SIGINT
    assert not isinstance(caught.value, Stopped)
    assert exit_code(caught.value) == 130


@pytest.mark.parametrize("context", ["signals_stop", "hold_signals"])
def test_the_second_signal_ends_the_process_at_once(context: str) -> None:
    script = (
        "import signal, time\n"
        f"from captune.stopping import {context}\n"
        f"with {context}():\n"
        "    try: signal.raise_signal(signal.SIGTERM)\n"
        "    except KeyboardInterrupt: pass\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('still running')\n"
    )
    done = run_python(script)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == ""


def test_a_repeat_from_a_launcher_is_not_a_second_signal() -> None:
    script = (
        "import signal\n"
        "from captune.stopping import hold_signals\n"
        "try:\n"
        "    with hold_signals():\n"
        "        for _ in range(2): signal.raise_signal(signal.SIGINT)\n"
        "        print('checkpoint saved')\n"
        "except KeyboardInterrupt: print('stopped')\n"
    )
    # The shell of the tests may ignore SIGINT from the start.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    assert run_python(listen + script, LOCAL_RANK="0").stdout == "checkpoint saved\nstopped\n"
    assert run_python(listen + script).returncode == -signal.SIGINT


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_stop():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_does_not_change_signal_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with hold_signals(), signals_stop():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
@pytest.mark.parametrize("leave", [ignore_signals, survive_signals])
def test_a_child_leaves_signals_to_its_parent(number: signal.Signals, leave) -> None:
    # pytest-timeout handles SIGALRM.
    changed = [*(each for each, _ in SIGNALS), signal.SIGALRM]
    before = {each: signal.getsignal(each) for each in changed}
    try:
        leave()
        signal.raise_signal(number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def test_sigterm_ends_a_worker_after_a_grace_period() -> None:
    script = (
        "import signal, time\n"
        "from captune import stopping\n"
        "stopping._SECONDS_OF_GRACE = 0.2\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "stopping.survive_signals()\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "print('the step ends', flush=True)\n"
        "time.sleep(60)\n"
    )
    done = run_python(script)
    assert done.stdout == "the step ends\n"
    assert done.returncode == -signal.SIGALRM


@pytest.mark.parametrize("number", [number for number, _ in SIGNALS])
def test_a_signal_waits_while_workers_are_started(number: signal.Signals) -> None:
    started = []
    with pytest.raises(Stopped), signals_stop(), starting_workers():
        signal.raise_signal(number)
        started.append(number)
    assert started == [number]
