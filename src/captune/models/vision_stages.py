"""Vision encoders as lists of stages, so that a frozen first part can be cached.

One literal table by transformers' `model_type`. An encoder that is not in it is one stage: it can
be frozen whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from captune.models.captioner import Stage


@dataclass(frozen=True, slots=True)
class Staged:
    """An encoder cut into stages.

    Attributes:
        stages: Functions in order; composed they are the encoder's `last_hidden_state`.
        owners: What each stage owns, for freezing.
    """

    stages: Sequence[Stage]
    owners: Sequence[Sequence[nn.Module]]


def stage_encoder(encoder: Any) -> Staged:
    """The stages of a transformers vision encoder."""
    attributes = _STRUCTURE.get(encoder.config.model_type)
    if attributes is None:
        return Staged([lambda pixels: encoder(pixels).last_hidden_state], [[encoder]])
    stem_name, layers_name, head_name = attributes
    stem = getattr(encoder, stem_name)
    layers = list(_follow(encoder, layers_name))
    head = getattr(encoder, head_name) if head_name else nn.Identity()
    *first, last = layers
    stages: list[Stage] = [stem, *first, lambda hidden: head(last(hidden))]
    return Staged(stages, [[stem], *([layer] for layer in first), [last, head]])


_STRUCTURE = {
    # model_type: (stem, layers, what follows the last layer)
    "vit": ("embeddings", "layers", "layernorm"),
    "deit": ("embeddings", "layers", "layernorm"),
    "mobilenet_v2": ("conv_stem", "layer", "conv_1x1"),
    "resnet": ("embedder", "encoder.stages", ""),
    "convnext": ("embeddings", "encoder.stages", ""),
}


def _follow(module: nn.Module, path: str) -> Any:
    return module.get_submodule(path)


def output_shape(encoder: Any, image_size: tuple[int, int], channels: int) -> torch.Size:
    """Shape of the encoder's `last_hidden_state` for one image: (1, S, D) or (1, C, H, W)."""
    with torch.no_grad():
        pixels = torch.zeros(1, channels, *image_size, dtype=encoder.dtype, device=encoder.device)
        shape: torch.Size = encoder(pixels).last_hidden_state.shape
    return shape
