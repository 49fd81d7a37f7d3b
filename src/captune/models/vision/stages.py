"""Vision encoders as lists of stages, so that a frozen first part can be cached.

One literal table, keyed by transformers' `model_type`. An encoder that is not in it is one stage:
it can only be frozen completely or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from captune.errors import ModelError
from captune.models.captioner import Stage


@dataclass(frozen=True, slots=True)
class Staged:
    """An encoder split into stages.

    Attributes:
        stages: Modules in order; together they compute the encoder's `last_hidden_state`.
        owners: Modules that each stage owns, for freezing.
    """

    stages: Sequence[Stage]
    owners: Sequence[Sequence[nn.Module]]


def stage_encoder(encoder: Any) -> Staged:
    """Split a transformers vision encoder into stages."""
    attributes = _STRUCTURE.get(encoder.config.model_type)
    if attributes is None:
        return Staged([_WholeEncoder(encoder)], [[encoder]])
    stem_name, layers_name, head_name = attributes
    stem = getattr(encoder, stem_name)
    layers = list(encoder.get_submodule(layers_name))
    head = getattr(encoder, head_name) if head_name else nn.Identity()
    *first, last = layers
    stages: list[Stage] = [stem, *first, nn.Sequential(last, head)]
    return Staged(stages, [[stem], *([layer] for layer in first), [last, head]])


class _WholeEncoder(nn.Module):
    """An encoder as one stage: pixels to its `last_hidden_state`."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.encoder(pixels).last_hidden_state
        return states


_STRUCTURE = {
    # model_type: (stem, layers, module after the last layer)
    "vit": ("embeddings", "layers", "layernorm"),
    "deit": ("embeddings", "layers", "layernorm"),
    "mobilenet_v2": ("conv_stem", "layer", "conv_1x1"),
    "resnet": ("embedder", "encoder.stages", ""),
    "convnext": ("embeddings", "encoder.stages", ""),
}


def output_shape(encoder: Any, image_size: tuple[int, int], *, channels: int) -> torch.Size:
    """Return the shape of `last_hidden_state` for one image: (1, S, D) or (1, C, H, W).

    Leave the encoder in eval mode: in training mode this pass would update its batch norms.

    Raises:
        ModelError: The encoder fails on an image of that size, returns no such state, or returns
            different states each time, like masked autoencoders.
    """
    encoder.eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, channels, *image_size, generator=generator, device="cpu")
    pixels = noise.to(encoder.device, encoder.dtype)
    try:
        with torch.no_grad():
            states, again = (encoder(pixels).last_hidden_state for _ in range(2))
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise _not_an_encoder(encoder, f"it fails on an image of {image_size}: {error}") from error
    if not isinstance(states, torch.Tensor) or states.dim() not in (3, 4):
        raise _not_an_encoder(encoder, "it returns neither a sequence nor a map")
    if states.device.type != "meta" and not torch.equal(states, again):
        raise _not_an_encoder(encoder, "it returns different states for the same image")
    return states.shape


def unread_parameters(encoder: Any) -> list[nn.Parameter]:
    """Return parameters that `last_hidden_state` does not use: classifiers, pretraining heads."""
    heads = _UNREAD.get(encoder.config.model_type, ())
    unread = ("pooler", "embeddings.mask_token", *heads)
    return [p for name, p in encoder.named_parameters() if name.startswith(unread)]


_UNREAD = {
    "convnext": ("layernorm.",),
    "convnextv2": ("layernorm.",),
    "clip_vision_model": ("post_layernorm.",),
    "siglip_vision_model": ("head.",),
}


def _not_an_encoder(encoder: Any, why: str) -> ModelError:
    return ModelError(
        f"a {encoder.config.model_type!r} model cannot be the vision encoder: {why}",
        where="model.encoder",
        fix="use a ViT, DeiT, BEiT, Swin, MobileNetV2, ConvNeXt or ResNet model",
    )
