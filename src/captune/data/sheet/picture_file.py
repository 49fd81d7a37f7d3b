"""The file of a contact sheet, in the format that its name ends in."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from captune.errors import OutputError
from captune.storage import write_bytes

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383, "PDF": 65_500}
"""Maximum side in pixels; a PDF contains a JPEG."""


def check_picture_name(path: Path) -> str:
    """Return Pillow's name of the format.

    Raises:
        OutputError: The ending is none of a picture.
    """
    chosen = _FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise OutputError(
            f"cannot write a picture of type {path.suffix!r}: {path}",
            where="--out",
            fix=f"end the name in one of {', '.join(_FORMATS)}",
        )
    return chosen


def write_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, atomically.

    Raises:
        OutputError: The format does not hold pictures of this size, or the file cannot be written.
    """
    chosen = check_picture_name(path)
    longest = _LONGEST.get(chosen)
    if longest is not None and max(picture.size) > longest:
        width, height = picture.size
        raise OutputError(
            f"{chosen} holds at most {longest:,} pixels per side, not {width:,} x {height:,}",
            where=str(path),
            fix="write a .png, or draw fewer images, narrower cells or more columns",
        )
    buffer = io.BytesIO()
    picture.save(buffer, format=chosen)
    write_bytes(path, buffer.getvalue())
