"""The text layers of every family in one form that exports well: plain matrix products.

transformers' layers append to a cache object and repeat what does not change per step. Here a layer
has one product for query, key and value, and takes past keys as plain inputs.
Shapes: B images, L new tokens per row, T past tokens, S vision tokens, D width, H heads, E = D / H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from captune.errors import ModelError
from captune.models import Captioner

KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TextParts:
    """The text side of a captioner, taken apart.

    Attributes:
        embed: Token ids and positions, both int64 (B, L), to states (B, L, D).
        layers: The layers in order.
        norm: Applied to the last layer's output; `None`: nothing.
        head: States to logits.
        image_keys: Vision states (B, S, D) to the keys and values of the image, per layer.
    """

    embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    layers: list[TextLayer]
    norm: nn.Module | None
    head: nn.Module
    image_keys: Callable[[torch.Tensor], list[KeysValues]]


class Attention(nn.Module):
    """Query projection (scaled), products and output projection over given keys and values."""

    def __init__(self, query: nn.Linear, output: nn.Linear, *, heads: int) -> None:
        super().__init__()
        self.query, self.output, self.heads = query, output, heads

    def forward(
        self, states: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Return the attention (B, L, D) of states (B, L, D) over keys (B, H, S, E)."""
        queries = split_heads(self.query(states), self.heads)
        weights = (queries @ keys.transpose(-1, -2)).softmax(dim=-1)
        mixed: torch.Tensor = self.output(join_heads(weights @ values))
        return mixed


class TextLayer(nn.Module):
    """One decoder layer with fused projections.

    Attributes:
        fused: States to queries, keys and values of the self-attention, side by side.
        output: Output projection of the self-attention.
        cross: Cross-attention to the image; `None`: the image's keys are a prefix of the
            self-attention.
        norms: Of self-attention, cross-attention (identity without) and feed-forward part.
        feed_forward: The two-layer part.
        norm_first: Whether norms come before the parts (GPT-2) or after the sums (BERT).
        heads: Number of heads.
    """

    def __init__(self, *, heads: int, norm_first: bool) -> None:
        super().__init__()
        self.heads, self.norm_first = heads, norm_first
        self.fused: nn.Linear
        self.output: nn.Linear
        self.cross: Attention | None = None
        self.norms: nn.ModuleList
        self.feed_forward: nn.Module

    def forward(
        self,
        states: torch.Tensor,
        mask: torch.Tensor,
        image: KeysValues,
        past: KeysValues,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the states (B, L, D) and the new keys and values (L, B, D).

        Args:
            states: (B, L, D).
            mask: Additive (B, 1, L, T + L).
            image: Keys and values of the image, (B, H, S, E).
            past: Keys and values of earlier tokens, (T, B, D); tokens first, so that appending
                needs no copy.
        """
        mixed, keys, values = self._self_attention(
            self._before(states, 0), mask, image=image, past=past
        )
        states = self._after(states + mixed, 0)
        if self.cross is not None:
            states = self._after(states + self.cross(self._before(states, 1), *image), 1)
        states = self._after(states + self.feed_forward(self._before(states, 2)), 2)
        return states, keys, values

    def _before(self, states: torch.Tensor, part: int) -> torch.Tensor:
        normed: torch.Tensor = self.norms[part](states) if self.norm_first else states
        return normed

    def _after(self, states: torch.Tensor, part: int) -> torch.Tensor:
        normed: torch.Tensor = states if self.norm_first else self.norms[part](states)
        return normed

    def _self_attention(
        self, states: torch.Tensor, mask: torch.Tensor, *, image: KeysValues, past: KeysValues
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        queries, keys, values = self.fused(states).chunk(3, dim=-1)
        new = keys.transpose(0, 1), values.transpose(0, 1)
        queries = split_heads(queries, self.heads)
        all_keys, all_values = (
            split_heads(torch.cat([old, fresh], dim=0).transpose(0, 1), self.heads)
            for old, fresh in zip(past, new, strict=True)
        )
        scores = queries @ all_keys.transpose(-1, -2) + mask
        if self.cross is not None:
            mixed = scores.softmax(dim=-1) @ all_values
        else:
            image_scores = queries @ image[0].transpose(-1, -2)
            weights = torch.cat([image_scores, scores], dim=-1).softmax(dim=-1)
            num_image = image[0].shape[2]
            mixed = weights[..., :num_image] @ image[1] + weights[..., num_image:] @ all_values
        return self.output(join_heads(mixed)), *new

    def image_pass(self, states: torch.Tensor) -> tuple[torch.Tensor, KeysValues]:
        """Return the layer's output for image tokens that see each other, and their keys.

        For layers without cross-attention; states are (B, S, D).
        """
        queries, keys, values = (
            split_heads(part, self.heads) for part in self.fused(states).chunk(3, dim=-1)
        )
        weights = (queries @ keys.transpose(-1, -2)).softmax(dim=-1)
        mixed = self.output(join_heads(weights @ values))
        states = self._after(states + mixed, 0)
        states = self._after(states + self.feed_forward(self._before(states, 2)), 2)
        return states, (keys, values)


def split_heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Return (B, L, D) as (B, H, L, E)."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def join_heads(states: torch.Tensor) -> torch.Tensor:
    """Return (B, H, L, E) as (B, L, D)."""
    return states.transpose(1, 2).flatten(2)


def take_apart(captioner: Captioner) -> TextParts:
    """Return the text side of a captioner in exportable form; weights are shared or copied.

    Raises:
        ModelError: The family, or its decoder, cannot be exported.
    """
    kind = captioner.model.config.model_type
    model = captioner.model
    if kind == "blip":
        return _bert_like(model.text_decoder.bert, model.text_decoder.cls)
    if kind == "git":
        return _git(model)
    decoder = getattr(model, "decoder", None)
    decoder_kind = getattr(getattr(decoder, "config", None), "model_type", "")
    if decoder is not None and decoder_kind == "bert":
        return _bert_like(decoder.bert, decoder.cls)
    if decoder is not None and decoder_kind == "gpt2":
        return _gpt2(decoder)
    raise ModelError(
        f"a {kind!r} model cannot be exported",
        fix="export a BLIP, GIT, vision encoder-decoder or CNN captioner",
    )


def _bert_like(body: Any, head: nn.Module) -> TextParts:
    layers = [_bert_layer(layer) for layer in body.encoder.layer]
    keys = [_key_value(layer.crossattention.self) for layer in body.encoder.layer]
    return TextParts(_embedding(body.embeddings), layers, None, head, _CrossKeys(layers, keys))


def _git(model: Any) -> TextParts:
    layers = [_bert_layer(layer) for layer in model.git.encoder.layer]
    return TextParts(
        _embedding(model.git.embeddings), layers, None, model.output, _PrefixKeys(layers)
    )


def _gpt2(decoder: Any) -> TextParts:
    body = decoder.transformer
    layers, keys = [], []
    for block in body.h:
        layer = TextLayer(heads=block.attn.num_heads, norm_first=True)
        layer.fused = _scale_queries(_linear(block.attn.c_attn), block.attn.scaling)
        layer.output = _linear(block.attn.c_proj)
        cross = block.crossattention
        layer.cross = Attention(
            _scale_queries(_linear(cross.q_attn), cross.scaling),
            _linear(cross.c_proj),
            heads=cross.num_heads,
        )
        layer.norms = nn.ModuleList([block.ln_1, block.ln_cross_attn, block.ln_2])
        layer.feed_forward = nn.Sequential(
            _linear(block.mlp.c_fc), block.mlp.act, _linear(block.mlp.c_proj)
        )
        layers.append(layer)
        keys.append(_linear(cross.c_attn))
    embed = _Embedding(body.wte, body.wpe, extra=None, norm=nn.Identity())
    return TextParts(embed, layers, body.ln_f, decoder.lm_head, _CrossKeys(layers, keys))


def _bert_layer(layer: Any) -> TextLayer:
    own = layer.attention.self
    exported = TextLayer(heads=own.num_attention_heads, norm_first=False)
    fused = _fuse([own.query, own.key, own.value])
    exported.fused = _scale_queries(fused, own.attention_head_size**-0.5)
    exported.output = layer.attention.output.dense
    crossing: nn.Module = nn.Identity()
    if hasattr(layer, "crossattention"):
        cross = layer.crossattention
        exported.cross = Attention(
            _scale_queries(_fuse([cross.self.query]), cross.self.attention_head_size**-0.5),
            cross.output.dense,
            heads=cross.self.num_attention_heads,
        )
        crossing = cross.output.LayerNorm
    norms = [layer.attention.output.LayerNorm, crossing, layer.output.LayerNorm]
    exported.norms = nn.ModuleList(norms)
    middle = layer.intermediate
    exported.feed_forward = nn.Sequential(
        middle.dense, _as_module(middle.intermediate_act_fn), layer.output.dense
    )
    return exported


class _Embedding(nn.Module):
    def __init__(self, words: Any, positions: Any, *, extra: Any, norm: nn.Module) -> None:
        super().__init__()
        self.words, self.positions, self.norm = words, positions, norm
        self.extra = extra

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        states = self.words(input_ids)
        if self.extra is not None:
            # BERT's token type 0.
            states = states + self.extra.weight[0]
        normed: torch.Tensor = self.norm(states + self.positions(position_ids))
        return normed


def _embedding(embeddings: Any) -> _Embedding:
    return _Embedding(
        embeddings.word_embeddings,
        embeddings.position_embeddings,
        extra=getattr(embeddings, "token_type_embeddings", None),
        norm=embeddings.LayerNorm,
    )


class _CrossKeys(nn.Module):
    """Cross-attention keys and values of the image, once per image."""

    def __init__(self, layers: list[TextLayer], projections: list[nn.Linear]) -> None:
        super().__init__()
        self.heads = [layer.cross.heads for layer in layers if layer.cross is not None]
        self.projections = nn.ModuleList(projections)

    def forward(self, vision_states: torch.Tensor) -> list[KeysValues]:
        found = []
        for heads, projection in zip(self.heads, self.projections, strict=True):
            keys, values = projection(vision_states).chunk(2, dim=-1)
            found.append((split_heads(keys, heads), split_heads(values, heads)))
        return found


class _PrefixKeys(nn.Module):
    """Self-attention keys and values of image tokens, which see no text."""

    def __init__(self, layers: list[TextLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, vision_states: torch.Tensor) -> list[KeysValues]:
        states, found = vision_states, []
        for layer in self.layers:
            assert isinstance(layer, TextLayer)
            states, image = layer.image_pass(states)
            found.append(image)
        return found


def _key_value(attention: Any) -> nn.Linear:
    return _fuse([attention.key, attention.value])


def _fuse(parts: list[nn.Linear]) -> nn.Linear:
    """Return one linear layer whose output is that of the parts, side by side."""
    first = parts[0]
    fused = nn.Linear(first.in_features, sum(part.out_features for part in parts))
    with torch.no_grad():
        fused.weight.copy_(torch.cat([part.weight for part in parts]))
        fused.bias.copy_(torch.cat([part.bias for part in parts]))
    return fused


def _scale_queries(projection: nn.Linear, scale: float) -> nn.Linear:
    """Multiply the query rows, the first ones, by the factor of the products.

    OpenVINO would otherwise multiply the image's keys by it, in every step.
    """
    with torch.no_grad():
        projection.weight[: projection.in_features] *= scale
        projection.bias[: projection.in_features] *= scale
    return projection


def _linear(convolution: Any) -> nn.Linear:
    """Return GPT-2's `Conv1D`, a linear layer with a transposed weight, as a linear layer."""
    num_in, num_out = convolution.weight.shape
    linear = nn.Linear(num_in, num_out)
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.T)
        linear.bias.copy_(convolution.bias)
    return linear


def _as_module(function: Any) -> nn.Module:
    return function if isinstance(function, nn.Module) else _Function(function)


class _Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.function(states)
