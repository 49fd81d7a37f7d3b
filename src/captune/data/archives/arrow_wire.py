"""The protocol between a process that reads Arrow data and its parent.

Each message has a kind, a length and bytes. The child may be compromised by the data, so it sends
JSON and Arrow streams only, and the parent validates both.
"""

from __future__ import annotations

import struct
from typing import IO

from captune.data.decoders.wire import read_exactly, write_all

PARTS, PLACE, BATCH, WINDOW, END, ERROR = b"H", b"F", b"B", b"W", b"D", b"E"
"""Kinds of messages: the splits and their schemas; the file read from now on; some rows; the number
of bytes that some rows take in the window; the end of a split; an error."""

ASK, RELEASE = b"A", b"R"
"""Sent by the parent: read these columns of a split; the rows in the window have been read."""

WINDOW_BYTES = 32 << 20
"""Size of the memory that both processes share: rows in it are copied once, not four times."""

MAX_BYTES = 2**30
"""Maximum length of a message: rows are sent in batches of far less."""

_HEADER = struct.Struct("<cQ")
_SHORT = 4096


def write_message(pipe: IO[bytes], kind: bytes, *, content: bytes | memoryview = b"") -> None:
    """Write a message to an unbuffered pipe."""
    header = _HEADER.pack(kind, len(content))
    if len(content) < _SHORT:
        write_all(pipe, header + bytes(content))
        return
    write_all(pipe, header)
    write_all(pipe, content)


def read_message(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    """Return kind and content of the next message.

    Raises:
        EOFError: The other process has ended, or announces more than is allowed.
    """
    kind, length = _HEADER.unpack(read_exactly(pipe, _HEADER.size))
    if length > MAX_BYTES:
        raise EOFError(f"a message of {length:,} bytes")
    return kind, read_exactly(pipe, length) if length else b""
