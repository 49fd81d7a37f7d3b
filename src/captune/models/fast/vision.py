"""Vision stages for inference: ViT layers in few large products; other stages unchanged."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.models.blip.modeling_blip import BlipEncoderLayer
from transformers.models.deit.modeling_deit import DeiTLayer
from transformers.models.git.modeling_git import GitVisionEncoderLayer
from transformers.models.vit.modeling_vit import ViTLayer

from captune.models.captioner import Stage
from captune.models.fast.attention import attend_within
from captune.models.fast.linear import (
    Linear,
    Norm,
    Projections,
    UnknownModuleError,
    linear,
    norm,
    projections,
)


@dataclass(frozen=True, slots=True)
class _Names:
    """Attribute paths of a layer's parts in its transformers class."""

    norm: str
    projections: tuple[str, ...]
    output: str
    feed_norm: str
    heads: str


_SPLIT = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
_VIT = _Names(
    "layernorm_before", _SPLIT, "attention.o_proj", "layernorm_after", "num_attention_heads"
)
_LAYERS = {
    BlipEncoderLayer: _Names(
        "layer_norm1", ("self_attn.qkv",), "self_attn.projection", "layer_norm2", "num_heads"
    ),
    GitVisionEncoderLayer: _Names(
        "layer_norm1",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.out_proj",
        "layer_norm2",
        "num_heads",
    ),
    ViTLayer: _VIT,
    DeiTLayer: _VIT,
}


class FastVisionLayer(nn.Module):
    """A pre-norm ViT layer; residual sums and norms are in float32, products in `dtype`."""

    def __init__(self, layer: Any, names: _Names, dtype: torch.dtype) -> None:
        super().__init__()
        attention = layer.get_submodule(names.output.partition(".")[0])
        self._dtype = dtype
        self._heads = int(getattr(attention, names.heads))
        self._norm: Norm = norm(layer.get_submodule(names.norm))
        modules = [layer.get_submodule(path) for path in names.projections]
        if len(modules) == 1:
            self._project = Projections((linear(modules[0], dtype),), 3)
        else:
            self._project = projections(modules, dtype)
        self._output: Linear = linear(layer.get_submodule(names.output), dtype)
        self._feed_norm: Norm = norm(layer.get_submodule(names.feed_norm))
        self._up: Linear = linear(layer.mlp.fc1, dtype, activation=layer.mlp.activation_fn)
        self._down: Linear = linear(layer.mlp.fc2, dtype)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return hidden states (B, S, D) in float32 or wider."""
        hidden = hidden.to(torch.promote_types(self._dtype, torch.float32))
        batch, length, width = hidden.shape
        parts = self._project(self._norm(hidden).to(self._dtype))
        query, key, value = (
            part.view(batch, length, self._heads, -1).transpose(1, 2) for part in parts
        )
        scale = (width // self._heads) ** -0.5
        hidden = hidden + self._output(attend_within(query, (key, value), scale=scale))
        return hidden + self._down(self._up(self._feed_norm(hidden).to(self._dtype)))


class _InHalf(nn.Module):
    """A stage that this package does not know, under autocast."""

    def __init__(self, stage: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.stage = stage
        self._dtype = dtype

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, dtype=self._dtype):
            states: torch.Tensor = self.stage(inputs)
        return states


def fast_stages(stages: Sequence[Stage], dtype: torch.dtype) -> list[Stage]:
    """Return stages for inference, in the given precision.

    If that is the precision of the weights, nothing is copied and results differ only by rounding.
    Rebuild the stages after the weights have changed.

    Args:
        stages: Stages from `Captioner.vision_stages`, in eval mode.
        dtype: Precision of the products.
    """
    return [_fast(stage, dtype) for stage in stages]


def _fast(stage: nn.Module, dtype: torch.dtype) -> nn.Module:
    if type(stage) is nn.Sequential:
        return nn.Sequential(*(_fast(part, dtype) for part in stage))
    # GIT's layers are wrapped, because they need a mask argument.
    layer = getattr(stage, "layer", stage)
    names = _LAYERS.get(type(layer))
    if names is not None:
        with contextlib.suppress(UnknownModuleError):
            return FastVisionLayer(layer, names, dtype)
    parameter = next(stage.parameters(), None)
    if parameter is None or dtype in {parameter.dtype, torch.float32}:
        return stage
    return _InHalf(stage, dtype)
