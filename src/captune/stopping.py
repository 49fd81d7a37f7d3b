"""Ctrl-C, SIGTERM and SIGHUP: a clean stop that keeps finished work, and an exit code for it.

The command line turns each of them into `Stopped`. Where an exception in the middle would lose
work, as in a training step, `hold_signals` lets the body see the signal and stop by itself. A
second signal ends the process at once. Schedulers and torchrun send SIGTERM, and SIGKILL some 30
seconds later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from captune.errors import error_chain

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
# Ctrl-C and scancel reach torchrun and its workers, and torchrun forwards them: twice the same.
_SECONDS_OF_ONE_REQUEST = 5.0
_SECONDS_UNTIL_SENT_AGAIN = 0.02
_SECONDS_OF_GRACE = 30.0
"""Seconds that a worker process survives SIGTERM: schedulers send SIGKILL after about as many."""
_Handler = Callable[[int, FrameType | None], Any]


class Stopped(KeyboardInterrupt):
    """The process was asked to stop.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a stopped process: 128 + the signal, 130 for Ctrl-C."""
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def find_stop(error: BaseException) -> KeyboardInterrupt | None:
    """Return the stop that an error replaced; `None`: nothing was stopped.

    A stop inside an import in C becomes an ImportError or a SystemError that names it as its cause.
    """
    return next((each for each in error_chain(error) if isinstance(each, KeyboardInterrupt)), None)


@contextmanager
def signals_stop() -> Iterator[None]:
    """Raise `Stopped` in the body at the first signal; the second one ends the process.

    Only the command line uses this: a library leaves signals to the calling program.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        _end_at_the_next()
        raise Stopped(number)

    with _handling(stop), _raised_again(stop):
        yield


@dataclass(slots=True)
class HeldSignal:
    """A signal that is held until the end of the body.

    Attributes:
        number: The signal; `None`: none was received.
    """

    number: int | None = None


@contextmanager
def hold_signals() -> Iterator[HeldSignal]:
    """Let the body see a signal instead of being interrupted by it.

    When the body ends, the signal takes its usual effect. A second one ends the process at once.
    """
    held = HeldSignal()

    def hold(number: int, _frame: FrameType | None) -> None:
        held.number = number
        _end_at_the_next()

    try:
        with _handling(hold):
            yield held
    finally:
        if held.number is not None:
            signal.raise_signal(held.number)


def stop_signals() -> Iterator[signal.Signals]:
    """Yield the signals of this system that are not ignored; `nohup` ignores one."""
    for name in _NAMES:
        found = getattr(signal, name, None)
        if found is not None and signal.getsignal(found) != signal.SIG_IGN:
            yield found


def ignore_signals() -> None:
    """Leave the signals to the parent, in a child process that ends when its pipe is closed.

    Terminals and schedulers send a signal to every process of a group. A child that ended first
    would look like one that crashed.
    """
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)


def survive_signals() -> None:
    """Leave the signals to the parent, in a worker process that the parent ends by SIGTERM.

    A worker of a data loader that ended first would fail the step before its checkpoint. SIGTERM
    ends the worker after 30 seconds: within them the parent finishes its step, and a worker that
    no longer responds does not keep the parent from ending.
    """

    def end_later(_number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_OF_GRACE)

    ignore_signals()
    if hasattr(signal, "SIGALRM"):
        # A handler of the parent's would run instead of ending the worker.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Windows has no timer, and SIGTERM ends a process there without asking it.
    signal.signal(signal.SIGTERM, end_later if hasattr(signal, "setitimer") else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())


@contextmanager
def starting_workers() -> Iterator[None]:
    """Delay signals in the body, and in processes started there until they `survive_signals`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _raised_again(stop: _Handler) -> Iterator[None]:
    """Send a signal again when its `Stopped` was lost.

    A handler runs wherever the main thread is. In a finalizer or a callback of the garbage
    collector, Python reports an exception and continues: a run would not see that Ctrl-C.
    """
    report = sys.unraisablehook
    timer: threading.Timer | None = None

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, Stopped):
            report(lost)
            return
        nonlocal timer
        if timer:
            timer.cancel()
        for each in stop_signals():
            signal.signal(each, stop)
        # Later, by another thread: raised here, it would be lost again.
        again = [lost.exc_value.number]
        timer = threading.Timer(_SECONDS_UNTIL_SENT_AGAIN, signal.raise_signal, again)
        timer.start()

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = report
        if timer:
            timer.cancel()


def _end_at_the_next() -> None:
    """Let the next signal end the process; under a launcher, ignore a repeat of the first."""
    began = time.monotonic()

    def end(number: int, _frame: FrameType | None) -> None:
        if time.monotonic() - began > _SECONDS_OF_ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    has_launcher = "LOCAL_RANK" in os.environ
    for number in stop_signals():
        signal.signal(number, end if has_launcher else signal.SIG_DFL)


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    """Install a handler for the signals in the body, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in stop_signals()}
    try:
        yield
    finally:
        for number, own in before.items():
            # None: the handler was not installed by Python.
            signal.signal(number, signal.SIG_DFL if own is None else own)
