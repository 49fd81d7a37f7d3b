"""Convert RGB images to pixels, bit for bit like transformers' image processor, but without it.

All processors of the supported models resize with Pillow, crop the centre, and map each 8-bit value
of a channel to a float. The last step is a table, which the export reads from the processor itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_MAX_SIDE = 4_096
"""Of the images that a model is given; that of image processors too."""

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """The steps from an image to pixels.

    Attributes:
        size: Height and width to resize to; `None`: resize by `shortest_edge`, if that is set.
        shortest_edge: Length of the shorter side after resizing; used only without `size`.
        resample: Pillow's number for the filter.
        crop: Height and width of the central crop, padded with zeros; `None`: no crop.
        levels: float32 (C, 256), the model input of each 8-bit value.
    """

    size: tuple[int, int] | None
    shortest_edge: int | None
    resample: int
    crop: tuple[int, int] | None
    levels: Pixels

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ImageRecipe:
        """Return the recipe that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: The content has another format.
        """
        levels = np.asarray(content["levels"], dtype=np.float32)
        if levels.shape != (3, 256):
            raise ValueError(f"levels of shape {levels.shape}")
        edge = content["shortest_edge"]
        return cls(
            size=_pair(content, "size"),
            shortest_edge=None if edge is None else _side(edge, "shortest_edge"),
            resample=int(Image.Resampling(content["resample"])),
            crop=_pair(content, "crop"),
            levels=levels,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return {
            "size": None if self.size is None else list(self.size),
            "shortest_edge": self.shortest_edge,
            "resample": self.resample,
            "crop": None if self.crop is None else list(self.crop),
            "levels": self.levels.tolist(),
        }

    def __call__(self, image: Image.Image) -> Pixels:
        """Return the model input, float32 (C, H, W), of an RGB image."""
        if self.size is not None or self.shortest_edge is not None:
            height, width = self._resized(image.height, image.width)
            image = image.resize((width, height), resample=Image.Resampling(self.resample))
        values = np.moveaxis(np.asarray(image), -1, 0)
        if self.crop is not None:
            values = _crop_center(values, *self.crop)
        pixels = np.empty(values.shape, dtype=np.float32)
        for channel, table in enumerate(self.levels):
            np.take(table, values[channel], out=pixels[channel], mode="clip")
        return pixels

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width after resizing."""
        if self.size is not None:
            return self.size
        assert self.shortest_edge is not None
        short, long = min(height, width), max(height, width)
        new_long = int(self.shortest_edge * long / short)
        same = self.shortest_edge, new_long
        return same if height <= width else (new_long, self.shortest_edge)


def _crop_center(values: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the centre (C, height, width); a smaller image is padded with zeros, as in HF."""
    had, had_width = values.shape[1:]
    top, left = (had - height) // 2, (had_width - width) // 2
    if top >= 0 and left >= 0:
        return values[:, top : top + height, left : left + width]
    full, full_width = max(height, had), max(width, had_width)
    padded = np.zeros((values.shape[0], full, full_width), dtype=values.dtype)
    down, right = ceil((full - had) / 2), ceil((full_width - had_width) / 2)
    padded[:, down : down + had, right : right + had_width] = values
    top, left = max(0, top + down), max(0, left + right)
    return padded[:, top : top + height, left : left + width]


def _pair(content: Mapping[str, Any], key: str) -> tuple[int, int] | None:
    if content[key] is None:
        return None
    first, second = content[key]
    return _side(first, key), _side(second, key)


def _side(value: Any, key: str) -> int:
    return check_whole(value, key, low=1, high=_MAX_SIDE)


def check_whole(value: Any, key: str, *, low: int, high: int) -> int:
    """Return a whole number of an export.json that is in a range, ends included.

    Raises:
        ValueError: It is something else.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{key}: {str(value)[:40]} is not a whole number from {low} to {high}")
    return value
