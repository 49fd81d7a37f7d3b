"""Thousands of broken images: small ones of every format, truncated, overwritten or spliced."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

from PIL import Image, features

_FORMATS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {}),
    ("PNG", "I;16", {}),
    ("GIF", "P", {}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "F", {}),
    ("BMP", "RGB", {}),
    ("PPM", "RGB", {}),
    ("TGA", "RGBA", {}),
    ("ICO", "RGBA", {}),
    ("JPEG2000", "RGB", {}),
    ("AVIF", "RGB", {}),
)


def whole_images(side: int = 24) -> list[bytes]:
    """Return one small image of each format that this Pillow writes."""
    Image.init()
    base = Image.linear_gradient("L").resize((side, side + 5))
    found = []
    for name, mode, options in _FORMATS:
        is_there = name in Image.SAVE and (name != "AVIF" or features.check("avif"))
        if is_there:
            image = base.convert("RGB").convert(mode) if mode != "I;16" else base.convert(mode)
            buffer = io.BytesIO()
            image.save(buffer, name, **options)
            found.append(buffer.getvalue())
    return found


def mutated_images(seed: int) -> Iterator[bytes]:
    """Yield broken images without end; the same seed gives the same images."""
    draw = random.Random(seed)
    whole = whole_images()
    while True:
        content = bytearray(draw.choice(whole))
        for _ in range(draw.randint(1, 4)):
            _mutate(content, draw, other=draw.choice(whole))
        yield bytes(content)


def _mutate(content: bytearray, draw: random.Random, *, other: bytes) -> None:
    at = draw.randrange(len(content) + 1)
    length = draw.choice((1, 1, 2, 4, 16))
    kind = draw.randrange(6)
    if kind == 0:
        content[at : at + length] = draw.randbytes(length)
    elif kind == 1:
        content[at : at + length] = draw.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * length
    elif kind == 2:
        del content[at : at + draw.choice((1, 4, 100))]
    elif kind == 3:
        content[at:at] = content[at : at + 100]
    elif kind == 4:
        content[at:at] = other[at : at + 200]
    elif len(content) > 40:
        # Headers matter most: sizes, offsets, counts.
        place = draw.randrange(40)
        content[place : place + length] = draw.randbytes(length)
