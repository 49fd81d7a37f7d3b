"""Offsets in JPEG files that point to other pictures: the multi-picture index, Exif's preview.

Phones and cameras store further pictures (depth, gain maps, full-size previews) after the first
one. The index is a small TIFF structure in the first picture, with offsets relative to its own
start.

Source: CIPA DC-007 (Multi-Picture Format), 5.2; Exif 2.32 (CIPA DC-008), 4.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from captune.bulk.metadata.refusal import embed_unsupported
from captune.bulk.metadata.splices import Splice

_ENTRIES, _ENTRY = 0xB002, 16
_EXIF_FOLDER = 0x8769
_PREVIEW_START, _PREVIEW_LENGTH = 0x0201, 0x0202
_MAX_FOLDERS, _MAX_TAGS, _MAX_PICTURES = 8, 1_000, 1_000


def corrected_offsets(content: bytes, splice: Splice, *, start: int, end: int) -> Iterator[Splice]:
    """Yield the changes to a multi-picture index that a splice in the first picture requires.

    Args:
        content: The file.
        splice: The change; it is before or after the index, never inside.
        start: Start of the index's TIFF header, to which its offsets are relative.
        end: End of the index.

    Raises:
        ImageError: The index is damaged, or points outside the file or into the metadata.
    """
    index = content[start:end]
    order = _byte_order(index)
    tags = _read_tags(index, order) if order else {}
    if order is None or _ENTRIES not in tags:
        raise embed_unsupported("its list of pictures (MPF) is damaged")
    count, at = tags[_ENTRIES]
    growth = len(splice.new) - splice.length
    if count % _ENTRY or count // _ENTRY > _MAX_PICTURES or at + count > len(index):
        raise embed_unsupported("its list of pictures (MPF) is damaged")
    for entry in range(at, at + count, _ENTRY):
        size, offset = struct.unpack(f"{order}II", index[entry + 4 : entry + 12])
        # The first picture, which the splice changes, has the offset 0.
        target = offset + start
        if offset and not start < target < target + size <= len(content):
            raise embed_unsupported("its list of pictures (MPF) points outside the file")
        if not offset:
            size += growth
        elif start <= splice.offset:
            if target < splice.offset + splice.length:
                raise embed_unsupported("its list of pictures (MPF) points into its metadata")
            offset += growth
        if size < 0 or max(size, offset) >= 2**32:
            raise embed_unsupported("its list of pictures (MPF) is damaged")
        yield Splice(start + entry + 4, 8, struct.pack(f"{order}II", size, offset))


def points_outside(exif: bytes) -> bool:
    """Return whether an Exif block has a preview outside itself, which moving data would lose.

    Args:
        exif: The block from its TIFF header on.
    """
    order = _byte_order(exif)
    if order is None:
        return False
    places, seen = [_first_folder(exif, order)], set[int]()
    while places and len(seen) < _MAX_FOLDERS:
        place = places.pop()
        if place in seen or place == 0:
            continue
        seen.add(place)
        tags = _read_tags(exif, order, place=place)
        if _PREVIEW_START in tags:
            length = tags.get(_PREVIEW_LENGTH, (1, 0))[1]
            if tags[_PREVIEW_START][1] + length > len(exif):
                return True
        places += [tags[_EXIF_FOLDER][1]] if _EXIF_FOLDER in tags else []
        after = place + 2 + 12 * _number(exif, f"{order}H", at=place)
        places.append(_number(exif, f"{order}I", at=after))
    return False


def _read_tags(block: bytes, order: str, *, place: int | None = None) -> dict[int, tuple[int, int]]:
    """Return tag -> count and value (or offset) of one TIFF directory, up to where it is cut."""
    at = _first_folder(block, order) if place is None else place
    number = min(_number(block, f"{order}H", at=at), _MAX_TAGS)
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * number, 12):
        if entry + 12 > len(block):
            break
        tag, _, count, value = struct.unpack_from(f"{order}HHII", block, entry)
        tags[tag] = (count, value)
    return tags


def _first_folder(block: bytes, order: str) -> int:
    return _number(block, f"{order}I", at=4)


def _number(block: bytes, form: str, *, at: int) -> int:
    """Return the number at a position, or 0 outside the block."""
    if at + struct.calcsize(form) > len(block):
        return 0
    value: int = struct.unpack_from(form, block, at)[0]
    return value


def _byte_order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
