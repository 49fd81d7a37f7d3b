"""Read the caption of IPTC's older form (IIM), which programs wrote before XMP.

Somebody wrote it, and an XMP description would be shown in its place. It is never changed.

Source: IPTC-NAA Information Interchange Model 4.2, 1.6 (data sets) and 5.2, 1:90; Adobe Photoshop
File Formats Specification (2019), image resource blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SIGNATURE = b"Photoshop 3.0\0"
_BLOCK, _IPTC = b"8BIM", 0x0404
_MARK = 0x1C
_CHARACTER_SET, _CAPTION = (1, 90), (2, 120)
_UTF8 = b"\x1b%G"


def read_caption(resources: bytes) -> str | None:
    """Return the caption in a file's Photoshop resources; `None`: there is none.

    Args:
        resources: The data of all segments, without their signature; damaged ones end early.
    """
    character_set, caption = b"", b""
    for number, data in _blocks(resources):
        if number == _IPTC:
            for name, value in _data_sets(data):
                if name == _CHARACTER_SET:
                    character_set = value
                elif name == _CAPTION and not caption:
                    caption = value
    text = _decode(caption, is_utf8=character_set == _UTF8).strip("\0 \t\r\n")
    return text or None


def _decode(text: bytes, *, is_utf8: bool) -> str:
    if is_utf8:
        return text.decode("utf-8", "replace")
    try:
        # Many programs write UTF-8 without declaring it.
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _blocks(resources: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and data of each resource; names and data are padded to even lengths."""
    at = 0
    while resources[at : at + 4] == _BLOCK and at + 8 <= len(resources):
        number = int.from_bytes(resources[at + 4 : at + 6], "big")
        start = at + 6 + (resources[at + 6] + 2) // 2 * 2
        size = int.from_bytes(resources[start : start + 4], "big")
        data = resources[start + 4 : start + 4 + size]
        if len(data) < size:
            return
        yield number, data
        at = start + 4 + (size + 1) // 2 * 2


def _data_sets(data: bytes) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Yield record and number, and the value, of each data set."""
    at = 0
    while at + 5 <= len(data) and data[at] == _MARK:
        record, number, size = struct.unpack_from(">BBH", data, at + 1)
        at += 5
        if size & 0x8000:
            # The length of a long value follows in as many bytes.
            width = size & 0x7FFF
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if at + size > len(data):
            return
        yield (record, number), data[at : at + size]
        at += size
