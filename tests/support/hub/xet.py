"""What the hub's xet client sends: blocks of chunks, out of which files are put together.

A xorb is chunks side by side, each behind eight bytes: version, compressed length (3 bytes, little
endian), compression, length. The client leaves what does not shrink uncompressed.
Source: huggingface/xet-core, the xorb format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_HEADER = 8


def read_xorb(body: bytes) -> list[bytes]:
    """The chunks of a xorb, as they were before.

    Raises:
        ValueError: One is compressed; the tests push what cannot be.
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
    """The file of this size and SHA-256 that lies side by side in the chunks; `None`: it is not."""
    for start in range(len(chunks)):
        content = b""
        for chunk in chunks[start:]:
            content += chunk
            if len(content) >= size:
                break
        if len(content) == size and hashlib.sha256(content).hexdigest() == sha256:
            return content
    return None
