"""Batches of prepared images, captioned by a torch model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from captune.hardware import Hardware
from captune.inference.decoding.decode import eval_mode, generate
from captune.models import InferenceForm
from captune.recipe import GenerateConfig
from captune.records import Prediction, VisionInputs


@dataclass(frozen=True, slots=True)
class TorchBatches:
    """See `BatchCaptioner`.

    Attributes:
        form: The model, arranged for captioning.
        hardware: Device and precision.
        transform: Converts an RGB image to the inputs of one image.
    """

    form: InferenceForm
    hardware: Hardware
    transform: Callable[[Image.Image], VisionInputs]

    def prepare(self, image: Image.Image) -> VisionInputs:
        """Return the model inputs of an upright RGB image."""
        return self.transform(image)

    @torch.inference_mode()
    def caption(
        self, batch: Sequence[tuple[str, VisionInputs]], configs: Sequence[GenerateConfig]
    ) -> list[tuple[Prediction, ...]]:
        """Return the captions of each image, one per config; see `BatchCaptioner`."""
        image_ids = [image_id for image_id, _ in batch]
        inputs = VisionInputs.join([inputs for _, inputs in batch]).to(self.hardware.device)
        with eval_mode(self.form.captioner):
            states = self.form.encode(inputs)
            found = [
                generate(
                    self.form.captioner,
                    states,
                    image_ids=image_ids,
                    config=config,
                    backend=self.form.text,
                )
                for config in configs
            ]
        return list(zip(*found, strict=True))
