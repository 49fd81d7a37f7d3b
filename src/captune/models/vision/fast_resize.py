"""Resize an image as the image processor does, three times as fast, up to rounding.

torch resizes 8-bit images in place of Pillow. The steps are read from the processor's settings and
tried on images of several shapes; a processor that does anything else keeps its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers.image_processing_backends import PilBackend

Size = tuple[int, int]

_MODES = {
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",  # torch has it since 2.12; without it the trial fails
}
_MAX_DIFFERENCE = 2
"""Grey levels by which Pillow and torch may round differently."""
_TRIALS = ((61, 47), (47, 61), (210, 330), (500, 120), (33, 33), (9, 300))
# ConvNeXT processors crop images below this side, and squeeze larger ones.
_CONVNEXT_SQUEEZE = 384


@dataclass(frozen=True, slots=True)
class FastResize:
    """Resizing and cropping of an image processor.

    Attributes:
        mode: torch's interpolation mode.
        size: Height and width of the resized image; `None`: by `shortest_edge`.
        shortest_edge: Shorter side of the resized image, which keeps its shape.
        crop: Height and width cut from the middle; `None`: nothing is cut.
    """

    mode: str
    size: Size | None
    shortest_edge: int
    crop: Size | None

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return uint8 (C, H, W) of an RGB image; the memory is in channels-last order."""
        # (1, C, H, W) in the order of Pillow's memory, for which torch has vector code.
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        size = self.size or self._keep_shape(image.size)
        if size != pixels.shape[-2:]:
            pixels = functional.interpolate(pixels, size=size, mode=self.mode, antialias=True)
        return self._cut(pixels[0])

    @property
    def smallest_input(self) -> Size:
        """Width and height down to which an image may be decoded before it is resized."""
        height, width = self.size or (self.shortest_edge, self.shortest_edge)
        return width, height

    def _keep_shape(self, size: Size) -> Size:
        short, long = sorted(size)
        other = int(self.shortest_edge * long / short)
        width, height = size
        return (other, self.shortest_edge) if width <= height else (self.shortest_edge, other)

    def _cut(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.crop is None:
            return pixels
        height, width = self.crop
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        return pixels[:, top : top + height, left : left + width]


def find_fast_resize(processor: Any) -> FastResize | None:
    """Return the fast form of a processor's resizing; `None`: it must do it itself.

    Args:
        processor: A transformers image processor, PIL backend.
    """
    resize = _read_steps(processor)
    if resize is None or not _agrees(resize, processor):
        return None
    return resize


def _read_steps(processor: Any) -> FastResize | None:
    mode = _MODES.get(getattr(processor, "resample", None))  # type: ignore[arg-type]
    if mode is None or not getattr(processor, "do_resize", False):
        return None
    size, shortest = _both_sides(processor.size), getattr(processor.size, "shortest_edge", None)
    crop = _both_sides(processor.crop_size) if processor.do_center_crop else None
    if hasattr(processor, "crop_pct") and shortest and crop is None:
        return _read_convnext(mode, shortest, crop_share=processor.crop_pct)
    # Not known: sizes of other kinds, methods of its own, and crops beyond the image's edge.
    if size is None and getattr(processor.size, "longest_edge", None):
        return None
    smaller = min(size) if size else shortest or 0
    if not _has_own_methods(processor) or smaller < max(crop or (1,)):
        return None
    return FastResize(mode, size, shortest or 0, crop)


def _read_convnext(mode: str, side: int, *, crop_share: float) -> FastResize:
    if side < _CONVNEXT_SQUEEZE:
        return FastResize(mode, None, int(side / crop_share), (side, side))
    return FastResize(mode, (side, side), 0, None)


def _both_sides(size: Any) -> Size | None:
    height, width = getattr(size, "height", None), getattr(size, "width", None)
    return (height, width) if height and width else None


def _has_own_methods(processor: Any) -> bool:
    """Return whether the class resizes and crops as all others do."""
    kind = type(processor)
    names = ("resize", "center_crop", "process_image")
    return all(getattr(kind, name, None) is getattr(PilBackend, name) for name in names)


def _agrees(resize: FastResize, processor: Any) -> bool:
    """Return whether both give the same pixels, up to rounding, for noise of several shapes."""
    return all(_is_close(resize, processor, size) for size in _TRIALS)


def _is_close(resize: FastResize, processor: Any, size: Sequence[int]) -> bool:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    try:
        ours = resize(image).numpy()
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    theirs = raw_levels(processor, image)
    if theirs.dtype != np.uint8 or theirs.shape != ours.shape:
        return False
    return int(np.abs(ours.astype(np.int16) - theirs).max()) <= _MAX_DIFFERENCE


def raw_levels(processor: Any, image: Image.Image) -> np.ndarray[Any, Any]:
    """Return the processor's own output (C, H, W) without rescaling and normalisation."""
    processed = processor([image], do_rescale=False, do_normalize=False, return_tensors="np")
    levels: np.ndarray[Any, Any] = np.asarray(processed.pixel_values[0])
    return levels
