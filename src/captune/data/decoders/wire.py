"""The protocol between a decoding process and its parent.

The parent pickles its requests. The child may be compromised by an image, so its answers are only
a fixed header, pixels and JSON, and the parent checks every size in them.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import IO

from captune.errors import ImageError

READY, SIZE, STRIP, FIRST_STRIP, ERROR = b"R", b"S", b"P", b"F", b"E"
"""Kinds of answers: ready; the size of a large image, before decoding; a strip of rows of an image
of that size; the same of the first frame of several; an error with its length in bytes of JSON."""

GO_ON = b"G"
"""Sent by the parent to let the child decode, or write the next strip."""

BANDS = 3
_HEADER = struct.Struct("<cII")
_LENGTH = struct.Struct("<Q")
_MAX_ERROR_BYTES = 100_000
_MAX_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """The header of a child's answer.

    Attributes:
        kind: One of the kinds above.
        first: Width in pixels, or length of the JSON.
        second: Height in pixels.
    """

    kind: bytes
    first: int = 0
    second: int = 0


def write_request(pipe: IO[bytes], content: bytes) -> None:
    """Write a request at once: its length, then its bytes."""
    write_all(pipe, _LENGTH.pack(len(content)) + content)


def read_request(pipe: IO[bytes]) -> bytes:
    """Return the next request.

    Raises:
        EOFError: The parent has closed the pipe.
    """
    (length,) = _LENGTH.unpack(read_exactly(pipe, _LENGTH.size))
    return read_exactly(pipe, length)


def write_answer(pipe: IO[bytes], answer: Answer) -> None:
    """Write a header."""
    write_all(pipe, _HEADER.pack(answer.kind, answer.first, answer.second))


def read_answer(pipe: IO[bytes]) -> Answer:
    """Return the next header.

    Raises:
        EOFError: The child has ended.
    """
    return Answer(*_HEADER.unpack(read_exactly(pipe, _HEADER.size)))


def write_error(pipe: IO[bytes], error: ImageError) -> None:
    """Write an error: header and JSON."""
    texts = [text[:_MAX_TEXT] for text in (error.what, error.where, error.fix)]
    content = json.dumps(texts).encode()
    write_answer(pipe, Answer(ERROR, len(content)))
    write_all(pipe, content)


def read_error(pipe: IO[bytes], length: int) -> ImageError:
    """Return the error whose header was just read.

    Raises:
        EOFError: It is not a valid error.
    """
    if length > _MAX_ERROR_BYTES:
        raise EOFError(f"an error of {length} bytes")
    try:
        texts = json.loads(read_exactly(pipe, length))
        what, where, fix = (str(text) for text in texts)
    except (ValueError, TypeError) as error:
        raise EOFError("an error that is not JSON") from error
    return ImageError(what, where=where, fix=fix)


def rows_per_strip(width: int, window_bytes: int) -> int:
    """Return how many rows of an RGB image fit into the window; at least one."""
    return max(1, window_bytes // (BANDS * width))


def read_exactly(pipe: IO[bytes], length: int) -> bytes:
    """Return the next bytes of an unbuffered pipe.

    Raises:
        EOFError: The pipe ends early.
    """
    pieces, missing = [], length
    while missing:
        piece = pipe.read(missing)
        if not piece:
            raise EOFError("the pipe ends early")
        pieces.append(piece)
        missing -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_all(pipe: IO[bytes], content: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered pipe or file, which may accept fewer at once."""
    rest = memoryview(content)
    while rest:
        rest = rest[pipe.write(rest) :]
