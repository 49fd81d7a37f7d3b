"""The server's log: one JSON object per line on stderr, without image bytes.

File names and prompts are untrusted: JSON escapes line ends and control characters, so no text can
look like another line or move a terminal's cursor.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

_MAX_CHARACTERS = 500


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
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


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
