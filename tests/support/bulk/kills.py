"""The kill harness: end a command at chosen or random points, resume it, compare with a twin.

A command runs in a session of its own, so that one SIGKILL ends it with all its processes. The
points are the n-th event that changes files (`site/sitecustomize.py`), or a random time.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.bulk.fork_server import ForkedProcess, ForkServer, stub_environment

_TIMEOUT = 240.0
# Shells start background jobs with SIGINT ignored, and nohup with SIGHUP; children inherit that.
_LISTEN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " hasattr(signal, 'SIGHUP') and signal.signal(signal.SIGHUP, signal.SIG_DFL)"
)
_Process = subprocess.Popen[bytes] | ForkedProcess
PROGRAM = f"{_LISTEN}; from captune.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended.

    Attributes:
        code: Its exit code; -9 after SIGKILL.
        out: What it printed on stdout.
        err: What it printed on stderr.
        seconds: How long it ran.
    """

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CaptuneCommand:
    """`captune WORDS...` in a process of its own, which can load stub captioners.

    Attributes:
        words: Words after `captune`.
        folder: Its current folder.
        environment: Further environment variables.
        server: Where it is forked, one command at a time; `None`: it starts a new Python.
    """

    words: Sequence[object]
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    server: ForkServer | None = None

    def start(self, **environment: str) -> _Process:
        """Start it in its own session and process group."""
        words = [str(word) for word in self.words]
        changes = {**self.environment, **environment}
        if self.server is not None:
            return self.server.start(words, self.folder or Path.cwd(), environment=changes)
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**stub_environment(), **changes},
        )

    def run(self, *, timeout: float = _TIMEOUT, **environment: str) -> Ended:
        """Run it to its end."""
        started = time.monotonic()
        return finish(self.start(**environment), started, timeout=timeout)

    def kill_at_event(self, number: int) -> Ended:
        """Run it until its n-th event that changes files; to its end if it has fewer."""
        return self.run(CAPTUNE_TEST_KILL_AT=str(number))

    def kill_after(self, seconds: float) -> Ended:
        """Run it for a time, then end it with all its processes; earlier if it ends by itself."""
        started = time.monotonic()
        process = self.start()
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return stop(process, started)
        return _ended(process, out, err, started)

    def count_events(self, counts: Path) -> int:
        """Run it to its end and return how many events change files."""
        self.run(CAPTUNE_TEST_KILL_AT="-1", CAPTUNE_TEST_EVENTS=str(counts))
        return int(counts.read_text())


def finish(process: _Process, started: float, *, timeout: float) -> Ended:
    """Wait for a command; end all its processes if it takes too long."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        ended = stop(process, started)
        raise AssertionError(f"no end after {timeout} s:\n{ended.err}") from None
    return _ended(process, out, err, started)


def stop(process: _Process, started: float) -> Ended:
    """Send SIGKILL to all processes of a command, which may have ended by itself just now."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return _ended(process, *process.communicate(), started)


def _ended(process: _Process, out: bytes, err: bytes, started: float) -> Ended:
    seconds = time.monotonic() - started
    return Ended(
        process.returncode, *(text.decode("utf-8", "replace") for text in (out, err)), seconds
    )


def wait_until(is_true: Callable[[], bool], process: _Process) -> None:
    """Wait for a state that a command reaches; fail if it ends before."""
    limit = time.monotonic() + _TIMEOUT
    while not is_true():
        assert time.monotonic() < limit, "the state was never reached"
        assert process.poll() is None, process.communicate()[1].decode("utf-8", "replace")
        time.sleep(0.005)


@dataclass(slots=True)
class KillHarness:
    """Kills a command many times, each time at another point, until it is done.

    Attributes:
        command: The command; the same words resume it.
        seed: The same seed gives the same points.
        check: Called after each kill: what must hold even before the resume.
    """

    command: CaptuneCommand
    seed: int
    check: Callable[[], None] = lambda: None
    num_kills: int = 0

    def kill_at_events(self, number: int, *, last: int) -> None:
        """Kill at up to `number` random events, each in a run that resumes the former.

        A run that has less to do than its point ends by itself, and nothing is left to kill: the
        caller begins again with another folder, so that most kills hit the work and not the start.
        """
        draw = random.Random(self.seed)
        while self.num_kills < number:
            ended = self.command.kill_at_event(draw.randint(1, last))
            if ended.code != -signal.SIGKILL:
                assert ended.code in (0, 3), ended.err
                return
            self.num_kills += 1
            self.check()

    def kill_at_times(self, number: int, *, longest: float) -> None:
        """Kill after `number` random times of at most `longest` seconds."""
        draw = random.Random(self.seed)
        for _ in range(number):
            ended = self.command.kill_after(draw.uniform(0, longest))
            self.num_kills += ended.code == -signal.SIGKILL
            assert ended.code in (0, 3, -signal.SIGKILL), ended.err
            self.check()
            if ended.code in (0, 3):
                return


def read_tree(folder: Path, *, without: Sequence[str] = (".captune",)) -> dict[str, bytes]:
    """Return the bytes of all files below a folder by name, without captune's own state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not set(without) & set(path.relative_to(folder).parts)
    }


def check_journals(folder: Path) -> int:
    """Check that every SQLite file below a folder is sound, and return how many there are."""
    journals = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.read_bytes()[:16] == b"SQLite format 3\0"
    ]
    for path in journals:
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        connection.close()
    return len(journals)
