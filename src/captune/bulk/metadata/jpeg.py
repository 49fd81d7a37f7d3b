"""Captions in the XMP segments of JPEG files; the coded image is never touched.

A new segment goes after Exif, as readers expect, and before everything else. Offsets to data that
the change moves are corrected in multi-picture files. Where that cannot be done safely, the file is
refused: content credentials, unknown data after the image, previews outside Exif's segment.

Source: ITU T.81, annex B (markers); XMP specification, part 3, 1.1.3 (segments, extended XMP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from captune.bulk.metadata.iptc import SIGNATURE as PHOTOSHOP
from captune.bulk.metadata.iptc import read_caption
from captune.bulk.metadata.multi_picture import corrected_offsets, points_outside
from captune.bulk.metadata.packets import Texts, edit_packet, new_packet, read_packet
from captune.bulk.metadata.refusal import PacketError, embed_unsupported
from captune.bulk.metadata.splices import Splice
from captune.bulk.metadata.view import Content

SIGNATURE = b"\xff\xd8\xff"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0"
_MULTI_PICTURE = b"MPF\0"
_APP0, _APP1, _APP2, _APP11, _APP13 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# A segment's length includes its own two bytes.
_MAX_PACKET = 65_533 - len(_XMP)
_MAX_SEGMENTS, _MAX_FILL = 10_000, 256
_END_MARKER = bytes((0xFF, _END_OF_IMAGE))


@dataclass(frozen=True, slots=True)
class _Segment:
    marker: int
    start: int
    """Position of the marker in the file."""
    data: int
    """Position of the data after the length."""
    end: int


def read_jpeg(content: Content) -> Texts:
    """Return the captions in a JPEG file: those of XMP, else the caption of IPTC's older form.

    Raises:
        ImageError: The file is damaged, or its XMP cannot be read.
    """
    segments = list(_segments(content))
    found = _packets(content, segments)
    texts = Texts() if not found else _read(content[found[0].data + len(_XMP) : found[0].end])
    more = _read_extension(content, segments)
    texts = Texts(
        more.description if texts.description is None else texts.description,
        more.alt_text if texts.alt_text is None else texts.alt_text,
    )
    if texts.description is not None:
        return texts
    return replace(texts, description=_read_iptc(content, segments))


def edit_jpeg(content: bytes, texts: Texts) -> list[Splice]:
    """Return the changes that write captions into a JPEG file.

    Raises:
        ImageError: The captions cannot be written without risk to other data.
    """
    segments = list(_segments(content))
    _refuse_credentials(content, segments)
    found = _packets(content, segments)
    extended = _read_extension(content, segments)
    if extended != Texts():
        raise embed_unsupported("its captions are in extended XMP")
    if found:
        packet = content[found[0].data + len(_XMP) : found[0].end]
        offset, length = found[0].start, found[0].end - found[0].start
    else:
        packet, offset, length = b"", _place_of_new(content, segments), 0
    try:
        new = edit_packet(packet, texts) if found else new_packet(texts)
    except PacketError as error:
        raise embed_unsupported(str(error)) from error
    if len(new) > _MAX_PACKET:
        raise embed_unsupported("its XMP would exceed the 64 kB of a segment")
    segment = b"\xff\xe1" + struct.pack(">H", len(new) + len(_XMP) + 2) + _XMP + new
    splice = Splice(offset, length, segment)
    if len(segment) == length:
        return [splice]
    return [splice, *_corrections(content, segments, splice=splice)]


def _corrections(content: bytes, segments: list[_Segment], *, splice: Splice) -> Iterator[Splice]:
    """Yield the changes to offsets whose data the splice moves.

    Raises:
        ImageError: An offset may point to data that moves, and cannot be corrected.
    """
    pictures = [
        s for s in segments if s.marker == _APP2 and _starts(content, s, name=_MULTI_PICTURE)
    ]
    if len(pictures) > 1:
        raise embed_unsupported("it has two lists of pictures (MPF)")
    exif = [s for s in segments if s.marker == _APP1 and _starts(content, s, name=_EXIF)]
    if any(points_outside(content[s.data + len(_EXIF) + 1 : s.end]) for s in exif):
        raise embed_unsupported("its Exif points to data outside of Exif")
    if pictures:
        start, end = pictures[0].data + len(_MULTI_PICTURE), pictures[0].end
        yield from corrected_offsets(content, splice, start=start, end=end)
    elif not _is_known_trailer(content[_image_end(content, segments) :]):
        raise embed_unsupported("unknown data follows the image, and offsets may point into it")


def _is_known_trailer(trailer: bytes) -> bool:
    """Return whether the trailer is empty, or is located from the end of the file."""
    is_video = trailer[4:8] == b"ftyp"
    return is_video or trailer.endswith(b"SEFT") or not trailer.strip(b"\0")


def _image_end(content: bytes, segments: list[_Segment]) -> int:
    """Return the position after the image's end; the end of the file if it is truncated.

    Coded data never holds the marker. A table between two scans might: the rest then looks like
    unknown data, and the file is refused.
    """
    found = content.find(_END_MARKER, segments[-1].end)
    return len(content) if found < 0 else found + len(_END_MARKER)


def _segments(content: Content) -> Iterator[_Segment]:
    """Yield the segments before the coded image, and its start of scan.

    Raises:
        ImageError: The structure is damaged.
    """
    at = 2
    for _ in range(_MAX_SEGMENTS):
        start = at
        if content[at : at + 1] != b"\xff":
            raise embed_unsupported("its segments are damaged")
        fill = content[at : at + _MAX_FILL]
        at += len(fill) - len(fill.lstrip(b"\xff"))
        data, length = at + 3, int.from_bytes(content[at + 1 : at + 3], "big")
        if data > len(content) or length < 2 or at + 1 + length > len(content):
            raise embed_unsupported("its segments are damaged")
        marker = content[at : at + 1][0]
        if marker in {0x00, 0x01, _END_OF_IMAGE} or 0xD0 <= marker <= 0xD8:
            raise embed_unsupported("its segments are damaged")
        at += 1 + length
        yield _Segment(marker, start, data, at)
        if marker == _START_OF_SCAN:
            return
    raise embed_unsupported(f"it has more than {_MAX_SEGMENTS} segments")


def _packets(content: Content, segments: list[_Segment]) -> list[_Segment]:
    found = [s for s in segments if s.marker == _APP1 and _starts(content, s, name=_XMP)]
    if len(found) > 1:
        raise embed_unsupported("it has two XMP packets")
    return found


def _place_of_new(content: bytes, segments: list[_Segment]) -> int:
    """Return the position after JFIF and Exif, which must stay at the start."""
    place = 2
    for segment in segments:
        is_first = segment.marker == _APP0 or (
            segment.marker == _APP1 and _starts(content, segment, name=_EXIF)
        )
        if not is_first:
            break
        place = segment.end
    return place


def _refuse_credentials(content: bytes, segments: list[_Segment]) -> None:
    if any(s.marker == _APP11 and _starts(content, s, name=b"JP") for s in segments):
        raise embed_unsupported("its content credentials (C2PA) would become invalid")


def _read_extension(content: Content, segments: list[_Segment]) -> Texts:
    """Return the captions of extended XMP, whose parts may be in any order."""
    parts: dict[int, bytes] = {}
    total = 0
    for segment in segments:
        if segment.marker == _APP1 and _starts(content, segment, name=_EXTENSION):
            head = segment.data + len(_EXTENSION) + 32
            total, offset = struct.unpack(">II", content[head : head + 8].ljust(8, b"\0"))
            parts[offset] = content[head + 8 : segment.end]
    joined = b"".join(parts[offset] for offset in sorted(parts))
    if len(joined) != total:
        raise embed_unsupported("its extended XMP is damaged")
    return _read(joined) if joined else Texts()


def _read_iptc(content: Content, segments: list[_Segment]) -> str | None:
    """Return the caption of IPTC's older form, whose resources may fill several segments."""
    return read_caption(
        b"".join(
            content[segment.data + len(PHOTOSHOP) : segment.end]
            for segment in segments
            if segment.marker == _APP13 and _starts(content, segment, name=PHOTOSHOP)
        )
    )


def _read(packet: bytes) -> Texts:
    try:
        return read_packet(packet)
    except PacketError as error:
        raise embed_unsupported(str(error)) from error


def _starts(content: Content, segment: _Segment, *, name: bytes) -> bool:
    return content[segment.data : min(segment.data + len(name), segment.end)] == name
