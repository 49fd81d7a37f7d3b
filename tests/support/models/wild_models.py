"""Tiny captioners with wild weights: captions that differ by image and end at different lengths.

Freshly initialised models give near-uniform logits that no image changes, so that a decoder could
be wrong and still agree with its twin.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from captune.models import Captioner, build_size, train_tokenizer
from captune.recipe import TokenizerConfig

# Size: spread of the weights and seed, looked up for varied captions. A spread of 6 makes attention
# so sharp that rounding alone (3e-2 nats against float64) turns near ties.
SPREADS = {
    "blip-tiny": (3.0, 3),
    "git-tiny": (3.0, 11),
    "vit-gpt2-tiny": (3.5, 11),
    "vit-bert-tiny": (3.0, 8),
    "mobilenet-gpt2-tiny": (3.0, 2),
}
NUM_IMAGES = 8


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    words = ["a red dog on the grass", "the cat and a dog"]
    return train_tokenizer(words, TokenizerConfig(kind="word", min_count=1))


def wild_captioner(size: str, *, image_size: int | None = None) -> Captioner:
    """A random model of a named size whose captions depend on the image."""
    spread, seed = SPREADS[size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        captioner = build_size(size, _tokenizer(), image_size=image_size)
    generator = torch.Generator().manual_seed(seed)
    for parameter in captioner.model.parameters():
        if parameter.dim() >= 2:
            std = spread / parameter[0].numel() ** 0.5
            parameter.data.normal_(std=std, generator=generator)
    captioner.eval_mode()
    return captioner


def calm_captioner(size: str) -> Captioner:
    """Return a wild captioner; a CNN with wild weights is chaotic, so that its own stay."""
    captioner = wild_captioner(size)
    if "mobilenet" in size:
        generator = torch.Generator().manual_seed(0)
        for parameter in captioner.model.encoder.backbone.parameters():
            if parameter.dim() >= 2:
                std = (2.0 / parameter[0].numel()) ** 0.5
                parameter.data.normal_(std=std, generator=generator)
    return captioner


def noise_images(count: int = NUM_IMAGES, *, side: int = 64) -> torch.Tensor:
    """float32 (count, 3, side, side)."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))
