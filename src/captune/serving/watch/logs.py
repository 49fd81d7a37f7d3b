"""The server's log: one JSON object per line on stderr, without image bytes.

File names and prompts are untrusted: JSON escapes line ends and control characters, so no text can
look like another line or move a terminal's cursor.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime

_MAX_CHARACTERS = 500
_MAX_WAITING = 4096
_SECONDS_TO_END = 2.0


def log_event(event: str, **facts: str | float | None) -> None:
    """Write a line; errors of the stream are ignored.

    Args:
        event: Name of the event.
        **facts: Further values; text is truncated to 500 characters.
    """
    shown = {
        name: value[:_MAX_CHARACTERS] if isinstance(value, str) else value
        for name, value in facts.items()
        if value is not None
    }
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    # ensure_ascii also escapes bidirectional overrides and C1 controls, but not DEL.
    line = json.dumps({"time": now, "event": event, **shown}).replace("\x7f", "\\u007f")
    for writer in _WRITERS:
        writer.put(f"{line}\n")
        return
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


@contextlib.contextmanager
def log_in_background() -> Iterator[None]:
    """Write events in a thread inside the block.

    A terminal that was stopped (Ctrl-S, a selection in a Windows console) or a pager that has shown
    a page reads nothing, and a write would stop the server until it does.
    """
    try:
        writer = _Writer(os.dup(sys.stderr.fileno()))
    except (OSError, ValueError, AttributeError):
        # stderr is closed, or not a file.
        yield
        return
    _WRITERS.append(writer)
    try:
        yield
    finally:
        _WRITERS.remove(writer)
        writer.end()


class _Writer:
    """A thread that writes lines; if too many wait, further ones are dropped and counted."""

    def __init__(self, file_number: int) -> None:
        """Start the thread.

        Args:
            file_number: Where lines are written. Writing to `sys.stderr` would hold its lock,
                which Python needs when it ends.
        """
        self._file_number = file_number
        # Its `put` may be interrupted by a signal handler that puts another line.
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._num_dropped = 0
        self._thread = threading.Thread(target=self._write_all, name="captune-log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Write a line soon."""
        # Once a line is dropped, so are all until the gap is reported: the log has one gap, and the
        # report is in it.
        if self._num_dropped or self._lines.qsize() >= _MAX_WAITING:
            self._num_dropped += 1
        else:
            self._lines.put(line)

    def end(self) -> None:
        """Wait until all lines are written, but not for a reader that has stopped."""
        self._lines.put(None)
        self._thread.join(_SECONDS_TO_END)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            if self._num_dropped and self._lines.qsize() < _MAX_WAITING // 2:
                dropped, self._num_dropped = self._num_dropped, 0
                log_event("lines_dropped", count=dropped)
            rest = line.encode("ascii")
            with contextlib.suppress(OSError):
                while rest:
                    rest = rest[os.write(self._file_number, rest) :]
        os.close(self._file_number)


# At most one: the running server's.
_WRITERS: list[_Writer] = []


def log_libraries() -> None:
    """Write the libraries' log records of level WARNING and above as events."""
    logging.basicConfig(level=logging.WARNING, handlers=[_EventHandler()], force=True)


class _EventHandler(logging.Handler):
    """Turns a record into an event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event, with the end of the traceback if there is one."""
        error = record.exc_info[1] if record.exc_info else None
        trace = (
            None if error is None else "".join(traceback.format_exception(error))[-_MAX_CHARACTERS:]
        )
        log_event(
            record.levelname.lower(), logger=record.name, text=record.getMessage(), trace=trace
        )
