"""A toy family with two named inputs per image, and its twin that takes their sum as pixels."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch.nn import functional

from captune.models import Captioner
from captune.models.encoder_decoder import EncoderDecoderCaptioner
from captune.models.vision.image_transform import ImageTransform
from captune.records import VisionInputs


def add_overview(detail: torch.Tensor, overview: torch.Tensor) -> torch.Tensor:
    """Return pixels (B, C, H, W): the detail on top of the smaller overview."""
    return detail + functional.interpolate(overview, size=detail.shape[-2:])


class TwoScales:
    """An image in full and at a quarter of its size."""

    def __init__(self, processor: Any) -> None:
        self._plain = ImageTransform(processor)

    def __call__(self, image: Image.Image) -> VisionInputs:
        detail = self._plain(image).pixel_values
        return VisionInputs({"detail": detail, "overview": functional.avg_pool2d(detail, 4)})


class Summed(TwoScales):
    """The sum of both, as one tensor."""

    def __call__(self, image: Image.Image) -> VisionInputs:
        return VisionInputs.of_pixels(add_overview(**super().__call__(image).tensors))


class TwoScaleCaptioner(EncoderDecoderCaptioner):
    """Reads `detail` (B, 3, 64, 64) and `overview` (B, 3, 16, 16)."""

    def image_transform(self) -> TwoScales:
        return TwoScales(self.image_processor)

    def stage_input(self, inputs: VisionInputs) -> torch.Tensor:
        return add_overview(**inputs.tensors).to(self.model.dtype)


class SummedCaptioner(EncoderDecoderCaptioner):
    """Reads `pixel_values`."""

    def image_transform(self) -> Summed:
        return Summed(self.image_processor)


def as_family(kind: type[Captioner], captioner: Captioner) -> Captioner:
    """Return the same model, tokenizer and processor as a captioner of another family."""
    changed = kind(captioner.model, captioner.tokenizer, captioner.image_processor)
    changed.frozen_stages = captioner.frozen_stages
    return changed
