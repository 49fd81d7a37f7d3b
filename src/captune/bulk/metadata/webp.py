"""Captions in the XMP chunk of WebP files.

The simple formats, lossy and lossless, have no place for metadata: such files get the extended
header, with the image size from their own header. The coded image is never touched.

Source: RFC 9649 (WebP), 2.5 to 2.7 and 3.4 (the header of lossless images); RFC 6386, 9.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from captune.bulk.metadata.packets import Texts, edit_packet, new_packet, read_packet
from captune.bulk.metadata.refusal import PacketError, embed_unsupported
from captune.bulk.metadata.splices import Splice
from captune.bulk.metadata.view import Content

_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10
_MAX_CHUNKS = 100_000
_MAX_RIFF = 2**32 - 10
_FIRST = 12


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    start: int
    data_end: int

    @property
    def end(self) -> int:
        """Its end, with the padding byte that makes its length even."""
        return self.data_end + (self.data_end - self.start) % 2

    @property
    def data(self) -> slice:
        """Range of its data in the file."""
        return slice(self.start + 8, self.data_end)


def is_webp(head: bytes) -> bool:
    """Return whether a file that starts like this is a WebP file."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read_webp(content: Content) -> Texts:
    """Return the captions in a WebP file.

    Raises:
        ImageError: The file is damaged, or its XMP cannot be read.
    """
    found = _find(list(_chunks(content)))
    try:
        return Texts() if found is None else read_packet(content[found.data])
    except PacketError as error:
        raise embed_unsupported(str(error)) from error


def edit_webp(content: bytes, texts: Texts) -> list[Splice]:
    """Return the changes that write captions into a WebP file.

    Raises:
        ImageError: The captions cannot be written without risk to other data.
    """
    chunks = list(_chunks(content))
    if any(chunk.kind == b"C2PA" for chunk in chunks):
        raise embed_unsupported("its content credentials (C2PA) would become invalid")
    found = _find(chunks)
    try:
        new = edit_packet(content[found.data], texts) if found else new_packet(texts)
    except PacketError as error:
        raise embed_unsupported(str(error)) from error
    body = b"XMP " + struct.pack("<I", len(new)) + new + b"\0" * (len(new) % 2)
    if found:
        splices = [Splice(found.start, found.end - found.start, body)]
    else:
        splices = [Splice(chunks[-1].end, 0, body)]
    splices += _header(content, chunks[0])
    size = _riff_size(content) + sum(len(splice.new) - splice.length for splice in splices)
    if size > _MAX_RIFF:
        raise embed_unsupported("it would exceed the 4 GB of its format")
    return [*splices, Splice(4, 4, struct.pack("<I", size))]


def _header(content: bytes, first: _Chunk) -> list[Splice]:
    """Return the change that sets the XMP flag, in the extended header or a new one."""
    data = content[first.data]
    if first.kind == b"VP8X":
        return [Splice(first.start + 8, 1, bytes([data[0] | _XMP_FLAG]))]
    flags = _XMP_FLAG
    if first.kind == b"VP8 ":
        if len(data) < 10 or data[3:6] != b"\x9d\x01\x2a" or data[0] & 1:
            raise embed_unsupported("its image header is damaged")
        width, height = (number & 0x3FFF for number in struct.unpack("<HH", data[6:10]))
    else:
        if len(data) < 5 or data[0] != 0x2F:
            raise embed_unsupported("its image header is damaged")
        bits = int.from_bytes(data[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= _ALPHA_FLAG if bits >> 28 & 1 else 0
    if not width or not height:
        raise embed_unsupported("its image header is damaged")
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    header = b"VP8X" + struct.pack("<II", 10, flags) + sizes
    return [Splice(first.start, 0, header)]


def _find(chunks: list[_Chunk]) -> _Chunk | None:
    # Some programs end the chunk's name with a null byte.
    found = [chunk for chunk in chunks if chunk.kind in {b"XMP ", b"XMP\0"}]
    if len(found) > 1 or any(chunk.kind == b"XMP\0" for chunk in found):
        raise embed_unsupported("it has XMP in a second place, or under another name")
    return found[0] if found else None


def _chunks(content: Content) -> Iterator[_Chunk]:
    """Yield all chunks.

    Raises:
        ImageError: The structure is damaged.
    """
    at, end = _FIRST, 8 + _riff_size(content)
    if end > len(content) or end % 2 or at == end:
        raise embed_unsupported("its chunks are damaged")
    for number in range(_MAX_CHUNKS):
        if at + 8 > end:
            raise embed_unsupported("its chunks are damaged")
        chunk = _Chunk(
            content[at : at + 4], at, at + 8 + int.from_bytes(content[at + 4 : at + 8], "little")
        )
        is_simple = chunk.kind in {b"VP8 ", b"VP8L"}
        is_extended = chunk.kind == b"VP8X" and chunk.data_end - at == 18
        if chunk.end > end or (number == 0 and not (is_simple or is_extended)):
            raise embed_unsupported("its chunks are damaged")
        yield chunk
        at = chunk.end
        if at == end:
            return
    raise embed_unsupported(f"it has more than {_MAX_CHUNKS} chunks")


def _riff_size(content: Content) -> int:
    return int.from_bytes(content[4:8], "little")
