"""The image processor of a captioner as an `ImageRecipe`, checked bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from captune.errors import ModelError
from captune.inference import ImageRecipe
from captune.models import Captioner

# Wide, high, smaller than the input, and long: each takes a different path through a processor.
_TRIED = ((331, 260), (260, 331), (41, 30), (901, 127))
# Below this side, ConvNeXt's processor resizes more than it keeps.
_CONVNEXT_WARPS_FROM = 384


def image_recipe(captioner: Captioner) -> ImageRecipe:
    """Return the recipe of the captioner's image processor.

    Raises:
        ModelError: The processor does something that a recipe cannot express.
    """
    processor = captioner.image_processor
    recipe = _build(processor)
    for number, size in enumerate(_TRIED):
        image = _noise(size, seed=number)
        expected = captioner.pixel_values([image])[0].numpy()
        found = None if recipe is None else recipe(image)
        if found is None or found.shape != expected.shape or not np.array_equal(found, expected):
            raise ModelError(
                f"the image processor {type(processor).__name__} cannot be exported: it does more"
                " than resize, crop, rescale and normalize",
                where="preprocessor_config.json",
                fix="caption with the model itself",
            )
    assert recipe is not None
    return recipe


def _build(processor: Any) -> ImageRecipe | None:
    levels = _levels(processor)
    if levels is None:
        return None
    size: tuple[int, int] | None = None
    edge, crop = None, None
    wanted = getattr(processor, "size", None) or {}
    if getattr(processor, "do_resize", False):
        edge = wanted.get("shortest_edge")
        if edge is None:
            if not wanted.get("height") or not wanted.get("width"):
                return None
            size = wanted["height"], wanted["width"]
    if getattr(processor, "do_center_crop", False):
        crop = processor.crop_size["height"], processor.crop_size["width"]
    if edge is not None and getattr(processor, "crop_pct", None):
        if edge >= _CONVNEXT_WARPS_FROM:
            size, edge = (edge, edge), None
        else:
            crop, edge = (edge, edge), int(edge / processor.crop_pct)
    resample = getattr(processor, "resample", None)
    resample = Image.Resampling.BILINEAR if resample is None else resample
    return ImageRecipe(size, edge, int(resample), crop, levels)


def _levels(processor: Any) -> Any:
    """Return what the processor makes of each 8-bit value, float32 (3, 256)."""
    values = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=0)
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(values, 0, -1)))
    found = processor(
        [image], do_resize=False, do_center_crop=False, return_tensors="np"
    ).pixel_values[0]
    is_table = found.shape == values.shape and found.dtype == np.float32
    return np.ascontiguousarray(found[:, :, 0]) if is_table else None


def _noise(size: tuple[int, int], *, seed: int) -> Image.Image:
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)
