"""Cross-attention over the vision states themselves, without computing keys and values.

A score is q (W x) for a query q, the keys' weights W and a vision state x. It equals (q W) x, and
the weighted sum of values equals W times the weighted sum of states, so with few queries W can be
applied to the queries and results instead. BLIP's decoder computes 21 MB of keys and values per
image in bf16 from 0.9 MB of states, with as many operations as 50 one-token steps need in this form
(docs/log.md).
Shapes: B images, H heads, L queries, S vision states, D their width, d width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from captune.models.fast.linear import TextDtypes, joined_weights

FEW_QUERIES = 1
"""Maximum number of new tokens per image and step for which reading the states pays."""

_MIN_HEAD_WIDTH = 64
"""Computing keys costs as much as at most d steps: with narrower heads, captions are long enough
that keys are cheaper."""

MIN_STATES = 128
"""With fewer states, multiplying the queries costs more than reading keys."""


@dataclass(frozen=True, slots=True)
class Absorbed:
    """The weights of the image's keys and values, arranged to multiply queries and results.

    Attributes:
        key: (H, D, d), which is read faster than (H, d, D). The keys' biases are dropped: they add
            the same to all scores of a query, which the softmax ignores.
        value: (H, D, d).
        value_bias: (H, 1, d), if any; it is added once, because attention weights sum to 1.
    """

    key: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor | None

    def attend(self, query: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Return the results (B, H, L, d) of scaled queries (B, H, L, d) over states (B, S, D)."""
        batch, heads, length, _ = query.shape
        moved = torch.bmm(_by_head(query.to(states.dtype)), self.key.transpose(1, 2))
        moved = moved.view(heads, batch, length, -1).transpose(0, 1).flatten(1, 2)
        # bmm, because `@` copies transposed states.
        weights = torch.bmm(moved, states.transpose(1, 2)).softmax(dim=-1)
        read = torch.bmm(weights, states).view(batch, heads, length, -1)
        mixed = torch.bmm(_by_head(read), self.value)
        if self.value_bias is not None:
            mixed = mixed + self.value_bias
        return mixed.view(heads, batch, length, -1).transpose(0, 1)


def _by_head(rows: torch.Tensor) -> torch.Tensor:
    """Return (B, H, L, any) as (H, B L, any)."""
    return rows.transpose(0, 1).flatten(1, 2)


def absorb(modules: Sequence[Any], *, heads: int, dtypes: TextDtypes) -> Absorbed | None:
    """Return the weights of keys and values for `Absorbed.attend`, or `None` where keys are faster.

    Args:
        modules: The layers of keys and values, or one layer fused from both.
        heads: Number of heads.
        dtypes: Precisions of the text side. In float32, whose captions equal transformers', keys
            are computed as usual.
    """
    if dtypes.tokens not in {torch.bfloat16, torch.float16}:
        return None
    weight, bias = joined_weights(modules)
    width = len(weight) // 2 // heads
    if weight.device.type != "cpu" or width < _MIN_HEAD_WIDTH:
        return None
    key, value = weight.to(dtypes.image).view(2, heads, width, -1)
    value_bias = None if bias is None else bias.to(dtypes.image).view(2, heads, 1, width)[1]
    return Absorbed(
        key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous(), value_bias
    )
