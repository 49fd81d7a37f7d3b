"""Images as small JPEGs inside a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from captune.data import open_decoder
from captune.records import ImageSource

THUMBNAIL_SIDE = 384
_JPEG_QUALITY = 78
_SMALL = 160
"""Images up to this side are enlarged by the page, which shows every artefact of their coding."""


def read_thumbnail(
    source: ImageSource, *, side: int = THUMBNAIL_SIDE
) -> tuple[str, tuple[int, int]]:
    """Decode an image and return its thumbnail, see `make_thumbnail`.

    Raises:
        ImageError: It cannot be decoded.
    """
    with open_decoder("inline", smallest=(side, side)) as decoder:
        return decoder.decode(source, lambda image: make_thumbnail(image, side=side))


def make_thumbnail(
    image: Image.Image, *, side: int = THUMBNAIL_SIDE
) -> tuple[str, tuple[int, int]]:
    """Return a small JPEG as a `data:` URI, and its width and height, at most `side`."""
    data, size = shrink(image, side=side)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode(), size


def shrink(image: Image.Image, *, side: int) -> tuple[bytes, tuple[int, int]]:
    """Return a small JPEG without metadata, and its width and height, at most `side`."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    # Pillow would save the comment of the photograph.
    small.info.clear()
    is_small = max(small.size) <= _SMALL
    coding = {"quality": 95, "subsampling": 0} if is_small else {"quality": _JPEG_QUALITY}
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", optimize=True, progressive=True, **coding)
    return buffer.getvalue(), small.size
