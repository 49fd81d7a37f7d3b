"""Count what changes files, and end the process group at a chosen event.

CAPTUNE_TEST_KILL_AT=N kills a command at its N-th event: opening for writing, renaming, removing,
syncing, or a statement of SQLite. CAPTUNE_TEST_EVENTS names a file that gets their number at the
end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.rename", "os.remove", "os.link", "os.truncate", "os.mkdir", "os.rmdir"}


def count_if_asked() -> None:
    """Count from now on, if the environment asks for it."""
    at = os.environ.get("CAPTUNE_TEST_KILL_AT")
    # Only the command itself, which leads its session: not the processes that it starts.
    if at and os.getpid() == os.getsid(0):
        _count_events(int(at))


class _Events:
    """Counts what changes files, and ends the process group at the chosen event."""

    def __init__(self, at: int) -> None:
        self.at, self.number = at, 0
        self.process = os.getpid()

    def note(self) -> None:
        if os.getpid() != self.process:
            return
        self.number += 1
        if self.number == self.at:
            os.killpg(0, signal.SIGKILL)

    def audit(self, event: str, arguments: tuple) -> None:
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & _FLAGS
        if is_write or event in _CHANGES:
            self.note()


def _count_events(at: int) -> None:
    events = _Events(at)
    sys.addaudithook(events.audit)
    sync = os.fsync

    def counted_sync(file) -> None:
        events.note()
        sync(file)
        events.note()

    os.fsync = counted_sync
    _count_sqlite(events)
    target = os.environ.get("CAPTUNE_TEST_EVENTS")
    if target:
        import atexit

        atexit.register(lambda: Path(target).write_text(str(events.number)))


def _count_sqlite(events: _Events) -> None:
    import sqlite3

    class Connection(sqlite3.Connection):
        def execute(self, *arguments):
            events.note()
            return super().execute(*arguments)

        def executemany(self, *arguments):
            events.note()
            return super().executemany(*arguments)

        def commit(self):
            events.note()
            super().commit()
            events.note()

        def __exit__(self, *error):
            events.note()
            left = super().__exit__(*error)
            events.note()
            return left

    connect = sqlite3.connect

    def counted_connect(*arguments, **settings):
        settings.setdefault("factory", Connection)
        return connect(*arguments, **settings)

    sqlite3.connect = counted_connect
