"""Pixels without transformers equal those of its image processors, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from captune.export.image_recipe import image_recipe
from captune.inference import ImageRecipe
from captune.models import ImageTransform

PROCESSORS: dict[str, dict[str, Any]] = {
    "BlipImageProcessor": {"size": {"height": 48, "width": 48}},
    "CLIPImageProcessor": {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}},
    "ViTImageProcessor": {"size": {"height": 32, "width": 48}},
    "MobileNetV2ImageProcessor": {
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
    },
    "ConvNextImageProcessor": {"size": {"shortest_edge": 56}},
    "BeitImageProcessor": {"size": {"height": 48, "width": 48}, "do_center_crop": False},
}
"""Class -> settings; each resizes, crops or normalizes in its own way."""


class _Stand:
    """What `image_recipe` reads of a captioner."""

    def __init__(self, processor: Any) -> None:
        self.image_processor = processor
        self._transform = ImageTransform(processor)

    def pixel_values(self, images: list[Image.Image]) -> Any:
        return self._transform(images[0]).pixel_values


def processor_of(name: str) -> Any:
    import transformers

    kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    return kind(**PROCESSORS[name])


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(200, 133), (70, 300), (20, 20), (48, 48)])
def test_pixels_equal_those_of_the_processor(name: str, size: tuple[int, int]) -> None:
    stand = _Stand(processor_of(name))
    recipe = image_recipe(stand)  # type: ignore[arg-type]
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = stand.image_processor([image], return_tensors="np").pixel_values[0]
    assert np.array_equal(recipe(image), expected)


def test_a_recipe_survives_json() -> None:
    recipe = image_recipe(_Stand(processor_of("CLIPImageProcessor")))  # type: ignore[arg-type]
    again = ImageRecipe.from_json(recipe.to_json())
    assert np.array_equal(again.levels, recipe.levels)
    assert (again.shortest_edge, again.crop) == (40, (40, 40))
