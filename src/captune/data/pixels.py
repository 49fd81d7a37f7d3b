"""Any pixel format to 8-bit RGB as a person sees it.

Image processors refuse grey, palette, alpha, CMYK and 16-bit images, and Pillow's own `convert`
drops alpha onto black and clips 16 bits to white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

_EIGHT_BITS = 255
_SIXTEEN_BITS = 65_535


def to_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image without metadata; alpha lies on white.

    16-bit values are scaled by 1/257; wider integers and floats by the smallest of 1, 255 and
    65535 that holds them, and from their own minimum and maximum where none does.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        rgb = _from_wide(image)
    elif _has_alpha(image):
        rgb = _on_white(image.convert("RGBA"))
    else:
        rgb = image.convert("RGB")
    # Otherwise saving the result would write the old EXIF turn a second time.
    rgb.info = {}
    return rgb


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    grey = _scale_to_byte(values, is_sixteen_bit=image.mode.startswith("I;16"), mode=image.mode)
    return Image.fromarray(grey).convert("RGB")


def _scale_to_byte(
    values: npt.NDArray[np.float64], *, is_sixteen_bit: bool, mode: str
) -> npt.NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if is_sixteen_bit:
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
