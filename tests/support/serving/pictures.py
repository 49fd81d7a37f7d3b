"""Small images as bytes, each with its own caption."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from support.bulk.stub_captioner import caption_of


def picture(number: int = 0, *, side: int = 24) -> Image.Image:
    """Return a random image; the number is its seed."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str = "PNG", **settings: object) -> bytes:
    """Return the bytes of an image's file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **settings)
    return buffer.getvalue()


def png(number: int = 0, *, side: int = 24) -> bytes:
    """Return `picture` as a PNG file."""
    return encoded(picture(number, side=side))


def stub_caption(number: int = 0, *, side: int = 24) -> str:
    """Return the caption that the stub gives to `picture`."""
    return caption_of(picture(number, side=side))
