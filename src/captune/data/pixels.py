"""Conversion of any pixel format to upright 8-bit RGB, as a viewer shows it.

Image processors refuse grey, palette, alpha, CMYK and 16-bit images, and Pillow's own `convert`
shows alpha on black and clips 16 bits to white.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from captune.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_EIGHT_BITS = 255
_SIXTEEN_BITS = 65_535
_BAND_PIXELS = 4_000_000
_CHANNELS = (1, 3, 4)

Size = tuple[int, int]
"""Width and height in pixels."""

DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
)
"""Pillow's decoders raise all of these on broken files."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a new RGB image without metadata; alpha is shown on white.

    16-bit values are scaled by 1/257. Wider integers and floats are scaled from the smallest range
    that holds them, 0..1, 0..255 or 0..65535, else from their own minimum and maximum.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        rgb = _from_wide(image)
    elif _has_alpha(image):
        rgb = Image.new("RGB", image.size)
        for top, band in _bands(image):
            rgb.paste(_on_white(band.convert("RGBA")), (0, top))
    else:
        rgb = image.convert("RGB")
    # Otherwise saving the result would keep the old EXIF orientation.
    rgb.info = {}
    return rgb


def image_from_array(array: npt.NDArray[Any], *, name: str) -> Image.Image:
    """Return the image of a numpy array.

    Args:
        array: uint8, (H, W), (H, W, 1), (H, W, 3) in RGB or (H, W, 4) in RGBA.
        name: The image's name in the error.

    Raises:
        DataError: It has another type or shape.
    """
    has_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)
    if array.dtype.name != "uint8" or not has_shape or 0 in array.shape:
        raise DataError(
            f"{name} is an array of {array.dtype} {array.shape}",
            fix="give uint8 (height, width), (height, width, 3) in RGB or (height, width, 4) in"
            " RGBA; from floats 0 to 1: (array * 255).round().astype('uint8')",
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def turn_upright(image: Image.Image) -> Image.Image:
    """Return a loaded image as its EXIF orientation shows it."""
    # After load(): it turns TIFF and AVIF itself and drops the tag.
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def shrink_jpeg(image: Image.Image, smallest: Size) -> None:
    """Let an open JPEG be decoded at 1/2, 1/4 or 1/8 of its size; other formats are unchanged.

    Args:
        image: Not loaded yet.
        smallest: Width and height that the upright image has at least, if the file has them.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = smallest
    image.draft(None, (height, width) if _orientation(image) in _SIDEWAYS else (width, height))


def is_plain_rgb(image: Image.Image) -> bool:
    """Return whether an image already has the pixels that `to_rgb` would return."""
    return image.mode == "RGB" and not _has_alpha(image)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODER_ERRORS:
        # Malformed EXIF (datasets#6739) does not affect the pixels.
        return 1


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield bands of rows with their tops: copies of a large image would take gigabytes."""
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    if rows >= height:
        yield 0, image
        return
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    ends = [_find_ends(_finite_values(band)) for _, band in _bands(image)]
    spread = min(low for low, _ in ends), max(high for _, high in ends)
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        grey = _scale_to_byte(_finite_values(band), spread=spread, mode=image.mode)
        rgb.paste(Image.fromarray(grey).convert("RGB"), (0, top))
    return rgb


def _finite_values(image: Image.Image) -> npt.NDArray[np.float64]:
    # Imported here: most images do not need numpy, and a decoding process starts faster without.
    import numpy as np

    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)


def _find_ends(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _scale_to_byte(
    values: npt.NDArray[np.float64], *, spread: tuple[float, float], mode: str
) -> npt.NDArray[np.uint8]:
    import numpy as np

    low, high = spread
    if mode.startswith("I;16"):
        scaled = values / 257.0
    elif low >= 0.0 and high <= 1.0 and mode == "F":
        scaled = values * _EIGHT_BITS
    elif low >= 0.0 and high <= _EIGHT_BITS:
        scaled = values
    elif low >= 0.0 and high <= _SIXTEEN_BITS:
        scaled = values / 257.0
    else:
        scaled = (values - low) * (_EIGHT_BITS / max(high - low, 1e-300))
    return np.asarray(np.clip(np.rint(scaled), 0, _EIGHT_BITS), dtype=np.uint8)
