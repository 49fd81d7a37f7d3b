"""A model family of your own: a captioner whose decoder sees one averaged vision token.

    python examples/new_family.py FOLDER_OF_A_VIT_GPT2_CAPTIONER photo.jpg

A family is one subclass of `Captioner` that shows captune where a transformers model keeps its
parts: its special tokens, its vision encoder as a list of stages (so that a frozen first part can
be cached), its freezable parts, and how text attends to vision states. This one changes a single
stage of a ViT + GPT-2 captioner; `models/git.py` is a complete family in 130 lines. To make a
family part of captune, put it into `src/captune/models/` and add one row to `FAMILIES` in
`families.py`:

    "my-model-type": Family(MyModel, MyCaptioner, "My model (Me 2026)"),

Training, packing, caching, decoding, metrics and reports then work without further changes, and
`tests/models/test_contract.py` checks the family like all others.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from captune.data import decode_image
from captune.inference import generate
from captune.models import load_captioner
from captune.models.captioner import Stage
from captune.models.encoder_decoder import EncoderDecoderCaptioner
from captune.recipe import GenerateConfig


class MeanPool(nn.Module):
    """Average the vision tokens: (B, S, D) to (B, 1, D)."""

    def forward(self, vision_states: torch.Tensor) -> torch.Tensor:
        return vision_states.mean(dim=1, keepdim=True)


class PooledCaptioner(EncoderDecoderCaptioner):
    """A ViT + GPT-2 captioner whose decoder attends to the mean of the vision tokens."""

    family: ClassVar[str] = "pooled-encoder-decoder"

    def vision_stages(self) -> list[Stage]:
        """Return the encoder's stages; the last one also averages its tokens."""
        *first, last = super().vision_stages()
        return [*first, nn.Sequential(last, MeanPool())]


def pool(captioner: EncoderDecoderCaptioner) -> PooledCaptioner:
    """Return the same model as a captioner that averages its vision tokens."""
    return PooledCaptioner(captioner.model, captioner.tokenizer, captioner.image_processor)


def main() -> None:
    folder, photo = map(Path, sys.argv[1:3])
    captioner = load_captioner(folder)
    if not isinstance(captioner, EncoderDecoderCaptioner):
        sys.exit(f"{folder} is not an encoder-decoder captioner")
    pooled = pool(captioner)
    pooled.eval_mode()
    with torch.inference_mode():
        vision_states = pooled.encode(pooled.pixel_values([decode_image(photo)]))
        (prediction,) = generate(
            pooled, vision_states, image_ids=[photo.name], config=GenerateConfig()
        )
    print(f"{prediction.caption} (from {vision_states.shape[1]} vision token)")


if __name__ == "__main__":
    main()
