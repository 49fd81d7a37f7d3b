"""torch's fused operators for layers that transformers computes plainly, up to rounding.

Attention of BLIP and GIT, for accelerators, where plain attention writes every score to memory
several times; on CPUs it is no faster in bf16 (docs/log.md). GPT-2's activation, everywhere. The
layers keep their weights, and attention its classes, so saved folders stay the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import FastGELUActivation, GELUTanh, NewGELUActivation
from transformers.models.blip.modeling_blip import BlipAttention
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention
from transformers.models.git.modeling_git import GitSelfAttention, GitVisionAttention


class FusedBlipAttention(BlipAttention):  # type: ignore[misc]
    """Attention of BLIP's vision layers."""

    def forward(self, hidden_states: torch.Tensor, **_settings: Any) -> Any:
        """Return the mixed states (B, L, D), and no probabilities."""
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(hidden_states).chunk(3, dim=-1)
        )
        dropout = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, scale=self.scale
        )
        return self.projection(mixed.transpose(1, 2).flatten(2)), None


class FusedBlipTextAttention(BlipTextSelfAttention):  # type: ignore[misc]
    """Attention of BLIP's text layers, to the text and to the image."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **settings: Any,
    ) -> Any:
        """Return the mixed states (B, L, D); with a cache, as transformers does."""
        if past_key_values is not None:
            given = (hidden_states, attention_mask, encoder_hidden_states, encoder_attention_mask)
            return super().forward(*given, past_key_values=past_key_values, **settings)
        if encoder_hidden_states is None:
            return _attend(self, hidden_states, hidden_states, mask=attention_mask)
        return _attend(self, hidden_states, encoder_hidden_states, mask=encoder_attention_mask)


class FusedGitAttention(GitSelfAttention):  # type: ignore[misc]
    """Attention of GIT's layers over image and text."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **settings: Any,
    ) -> Any:
        """Return the mixed states (B, L, D); with a cache, as transformers does."""
        if past_key_values is not None:
            return super().forward(
                hidden_states, attention_mask, past_key_values=past_key_values, **settings
            )
        return _attend(self, hidden_states, hidden_states, mask=attention_mask)


def _attend(
    layer: Any, hidden: torch.Tensor, seen: torch.Tensor, *, mask: torch.Tensor | None
) -> Any:
    """Return attention of a layer in BERT's form, from `hidden` to `seen`."""
    query, key, value = (
        project(states).unflatten(-1, (-1, layer.attention_head_size)).transpose(1, 2)
        for project, states in ((layer.query, hidden), (layer.key, seen), (layer.value, seen))
    )
    mixed = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        # float32's minimum becomes minus infinity in half precision; no row is hidden completely.
        attn_mask=None if mask is None else mask.to(query.dtype),
        dropout_p=layer.dropout.p if layer.training else 0.0,
    )
    return mixed.transpose(1, 2).flatten(2), None


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    BlipAttention: FusedBlipAttention,
    BlipTextSelfAttention: FusedBlipTextAttention,
    GitSelfAttention: FusedGitAttention,
}
_PLAIN = {fused: plain for plain, fused in _FUSED.items()}


def is_always_plain(model: nn.Module) -> bool:
    """Return whether transformers does not let the model's attention be chosen."""
    return any(type(layer) in _FUSED or type(layer) in _PLAIN for layer in model.modules())


def fuse_attention(model: nn.Module, *, fused: bool = True) -> None:
    """Let the attention of BLIP and GIT be fused, or as transformers computes it."""
    classes = _FUSED if fused else _PLAIN
    for layer in model.modules():
        layer.__class__ = classes.get(type(layer), type(layer))
        if isinstance(layer, GitVisionAttention):
            # GIT's vision layers look up their attention by this name; they have no mask.
            layer.config._attn_implementation = "sdpa" if fused else "eager"


def fuse_activations(model: nn.Module) -> None:
    """Compute the tanh form of GELU in one pass over memory, where transformers takes eight."""
    for layer in model.modules():
        for name, part in layer.named_children():
            if isinstance(part, NewGELUActivation | FastGELUActivation):
                setattr(layer, name, GELUTanh())
