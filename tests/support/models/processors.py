"""Image processors of every kind that captune's families use, and one of no family."""

from __future__ import annotations

from typing import Any

import transformers

SQUARE = {"height": 64, "width": 64}
PROCESSORS: dict[str, Any] = {
    "vit": lambda: transformers.ViTImageProcessorPil(size=SQUARE),
    "blip": lambda: transformers.BlipImageProcessorPil(size=SQUARE),
    "clip": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size=SQUARE
    ),
    "deit": lambda: transformers.DeiTImageProcessorPil(
        size={"height": 73, "width": 73}, crop_size=SQUARE
    ),
    "beit": lambda: transformers.BeitImageProcessorPil(size=SQUARE),
    "mobilenet": lambda: transformers.MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 73}, crop_size=SQUARE
    ),
    "convnext": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 64}),
    "no normalisation": lambda: transformers.ViTImageProcessorPil(size=SQUARE, do_normalize=False),
    "no resizing": lambda: transformers.ViTImageProcessorPil(do_resize=False),
}


class HalfBlind(transformers.ViTImageProcessorPil):
    """A processor that normalises by position, which no table of levels can represent."""

    def normalize(self, image: Any, mean: Any, std: Any, **settings: Any) -> Any:
        dark = super().normalize(image, mean, std, **settings)
        dark[:, : dark.shape[1] // 2] = 0
        return dark
