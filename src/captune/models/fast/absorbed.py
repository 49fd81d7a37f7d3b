"""Cross-attention that reads the vision states themselves: no keys and values are computed.

A score is q (W x) for a query q, the keys' weights W and a vision state x. It equals (q W) x, and
the sum of weighted values equals W times the sum of weighted states, so few queries may take W to
their side. BLIP's decoder makes 21 MB of keys and values per image in bf16 from 0.9 MB of states,
with as many operations as 50 steps of one token take in this form (docs/log.md).
Shapes: B images, H heads, L queries, S vision states, D their width, d width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from captune.models.fast.linear import TextDtypes, joined_weights

FEW_QUERIES = 1
"""New tokens per image and step up to which reading the states pays."""

_LEAST_HEAD_WIDTH = 64
"""Keys cost as much as d steps at most: with narrower heads captions are long enough for them."""

LEAST_STATES = 128
"""With fewer states, moving the queries costs more than reading."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """The weights of the image's keys and values, arranged to multiply queries and results.

    Attributes:
        key: (H, D, d), which is read faster than (H, d, D). The keys' biases add the same to all
            scores of a query, which the softmax ignores.
        value: (H, D, d).
        value_bias: (H, 1, d), if any: weights of attention sum to 1.
    """

    key: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor | None

    def attend(self, query: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return (B, H, L, d) for scaled queries (B, H, L, d) over vision states (B, S, D)."""
        batch, heads, length, _ = query.shape
        moved = torch.bmm(_by_head(query.to(states.dtype)), self.key.transpose(1, 2))
        moved = moved.view(heads, batch, length, -1).transpose(0, 1).flatten(1, 2)
        # Not `@`, which copies transposed states.
        weights = torch.bmm(moved, states.transpose(1, 2)).softmax(dim=-1)
        read = torch.bmm(weights, states).view(batch, heads, length, -1)
        mixed = torch.bmm(_by_head(read), self.value)
        if self.value_bias is not None:
            mixed = mixed + self.value_bias
        return mixed.view(heads, batch, length, -1).transpose(0, 1)


def _by_head(rows: torch.Tensor) -> torch.Tensor:
    """Return (H, B L, any) of (B, H, L, any)."""
    return rows.transpose(0, 1).flatten(1, 2)


def absorb(modules: Sequence[Any], *, heads: int, dtypes: TextDtypes) -> Absorbed | None:
    """Return the weights of keys and values for `Absorbed.attend`, or `None` where keys are faster.

    Args:
        modules: The layers of keys and values, or one that is fused from both.
        heads: Number of heads.
        dtypes: Of the text side. In float32, whose captions equal transformers', keys stay.
    """
    if dtypes.tokens not in {torch.bfloat16, torch.float16}:
        return None
    weight, bias = joined_weights(modules)
    width = len(weight) // 2 // heads
    if weight.device.type != "cpu" or width < _LEAST_HEAD_WIDTH:
        return None
    key, value = weight.to(dtypes.image).view(2, heads, width, -1)
    value_bias = None if bias is None else bias.to(dtypes.image).view(2, heads, 1, width)[1]
    return Absorbed(
        key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous(), value_bias
    )
