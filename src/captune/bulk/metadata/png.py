"""Captions in the XMP chunk of PNG files: one `iTXt` chunk before the pixels.

Source: PNG specification (W3C, third edition), 5.3 and 11.3.3; XMP specification, part 3, 1.1.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from captune.bulk.metadata.packet_tree import MAX_PACKET
from captune.bulk.metadata.packets import Texts, edit_packet, new_packet, read_packet
from captune.bulk.metadata.refusal import PacketError, embed_unsupported
from captune.bulk.metadata.splices import Splice
from captune.bulk.metadata.view import Content

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp\0"
# Written by ImageMagick: a second place for the same data.
_RAW_PROFILE = b"Raw profile type xmp\0"
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    start: int
    end: int

    @property
    def data(self) -> slice:
        """Range of its data in the file."""
        return slice(self.start + 8, self.end - 4)

    def data_start(self, keyword: bytes) -> slice:
        """Return the range in which a keyword of this length would be."""
        return slice(self.start + 8, min(self.start + 8 + len(keyword), self.end - 4))


def read_png(content: Content) -> Texts:
    """Return the captions in a PNG file.

    Raises:
        ImageError: The file is damaged, or its XMP cannot be read.
    """
    # Without checksums, which would require reading the pixels.
    found = _find(content, list(_chunks(content, verify=False)))
    try:
        return Texts() if found is None else read_packet(_packet(content[found.data]))
    except PacketError as error:
        raise embed_unsupported(str(error)) from error


def edit_png(content: bytes, texts: Texts) -> list[Splice]:
    """Return the changes that write captions into a PNG file.

    Raises:
        ImageError: The captions cannot be written without risk to other data.
    """
    chunks = list(_chunks(content))
    if any(chunk.kind == b"caBX" for chunk in chunks):
        raise embed_unsupported("its content credentials (C2PA) would become invalid")
    found = _find(content, chunks)
    try:
        if found is None:
            return [Splice(chunks[0].end, 0, _chunk(new_packet(texts)))]
        new = _chunk(edit_packet(_packet(content[found.data]), texts))
    except PacketError as error:
        raise embed_unsupported(str(error)) from error
    return [Splice(found.start, found.end - found.start, new)]


def _find(content: Content, chunks: list[_Chunk]) -> _Chunk | None:
    found = [c for c in chunks if c.kind == b"iTXt" and content[c.data_start(_KEYWORD)] == _KEYWORD]
    profiles = [
        c
        for c in chunks
        if c.kind in {b"tEXt", b"zTXt", b"iTXt"}
        and content[c.data_start(_RAW_PROFILE)] == _RAW_PROFILE
    ]
    if len(found) + len(profiles) > 1 or profiles:
        raise embed_unsupported("it has XMP in a second place")
    return found[0] if found else None


def _packet(data: bytes) -> bytes:
    """Return the XMP of a chunk, decompressed within limits.

    Raises:
        PacketError: The chunk is damaged, or its XMP is too large.
    """
    flag, rest = data[len(_KEYWORD) : len(_KEYWORD) + 1], data[len(_KEYWORD) + 2 :]
    # The language and the translated keyword each end with a null byte.
    _, language_end, rest = rest.partition(b"\0")
    _, keyword_end, text = rest.partition(b"\0")
    if flag not in {b"\0", b"\1"} or not (language_end and keyword_end):
        raise PacketError("its XMP chunk is damaged")
    if flag == b"\0":
        return text
    unpacking = zlib.decompressobj()
    try:
        packet = unpacking.decompress(text, MAX_PACKET + 1)
    except zlib.error as error:
        raise PacketError(f"its XMP chunk is damaged: {error}") from error
    if not unpacking.eof:
        raise PacketError("its XMP chunk is damaged or too large")
    return packet


def _chunk(packet: bytes) -> bytes:
    body = b"iTXt" + _KEYWORD + b"\0\0\0\0" + packet
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(content: Content, *, verify: bool = True) -> Iterator[_Chunk]:
    """Yield all chunks, from IHDR to IEND.

    Args:
        content: The file.
        verify: Whether to check checksums.

    Raises:
        ImageError: The structure is damaged.
    """
    at = len(SIGNATURE)
    for number in range(_MAX_CHUNKS):
        if at + 12 > len(content):
            raise embed_unsupported("its chunks are damaged")
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content):
            raise embed_unsupported("its chunks are damaged")
        kind = content[at + 4 : at + 8]
        is_first = kind == b"IHDR" and end - at == 25
        if (number == 0) != is_first or (verify and not _is_intact(content, at, end=end)):
            raise embed_unsupported("its chunks are damaged")
        yield _Chunk(kind, at, end)
        if kind == b"IEND":
            return
        at = end
    raise embed_unsupported(f"it has more than {_MAX_CHUNKS} chunks")


def _is_intact(content: Content, start: int, *, end: int) -> bool:
    return zlib.crc32(content[start + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")
