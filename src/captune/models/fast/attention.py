"""Attention for inference, computed in the fastest way for each device and precision.

On CPUs in half precision, plain products read keys at 18 GB/s and SDPA at 1 to 5 GB/s; with 577
queries and 577 keys, plain products take 10 ms per image and SDPA 18 ms (docs/log.md). In float32
and on accelerators, SDPA is faster for whole images.
Shapes: B images, H heads, L queries, S image tokens, T text tokens (free places included), d width
of a head.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from captune.models.fast.cache import Pair

_SCORE_BYTES = 16 * 2**20
"""Maximum bytes of scores computed at once on a CPU, so that they stay in its cache."""


def attend_within(query: torch.Tensor, pair: Pair, *, scale: float) -> torch.Tensor:
    """Return (B, S, H d): each token of an image attends to all tokens of that image.

    Args:
        query: (B, H, S, d).
        pair: Keys and values, (B, H, S, d) each.
        scale: Factor of the scores.
    """
    key, value = pair
    batch, heads, length, width = query.shape
    if query.device.type != "cpu" or query.dtype == torch.float32:
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=scale)
        return mixed.transpose(1, 2).reshape(batch, length, heads * width)
    query = query if scale == 1.0 else query * scale
    at_once = max(1, _SCORE_BYTES // (heads * length * length * query.element_size()))
    mixed = query.new_empty((batch, length, heads, width))
    for start in range(0, batch, at_once):
        now = slice(start, start + at_once)
        scores = query[now].contiguous() @ key[now].contiguous().transpose(-1, -2)
        torch.softmax(scores, dim=-1, out=scores)
        mixed[now] = (scores @ value[now].contiguous()).transpose(1, 2)
    return mixed.flatten(2)


def attend_to_image(query: torch.Tensor, pair: Pair) -> torch.Tensor:
    """Return (B, H, L, d) for scaled queries (B, H, L, d) of few tokens over keys (B, H, S, d)."""
    key, value = pair
    return (query.to(key.dtype) @ key.transpose(-1, -2)).softmax(dim=-1) @ value


def attend_to_text(
    query: torch.Tensor,
    text: Pair,
    *,
    mask: torch.Tensor,
    image: Pair | None = None,
) -> torch.Tensor:
    """Return (B, H, L, d) for scaled queries (B, H, L, d).

    Args:
        query: Scaled queries of the new tokens.
        text: Keys and values (B, H, T, d); free places hold zeros.
        mask: Additive mask, float32 (B or 1, 1, L, T).
        image: Keys and values (B, H, S, d) in the same softmax, all visible; `None`: none.
    """
    key, value = text
    scores = (query @ key.transpose(-1, -2)) + mask
    if image is None:
        return scores.softmax(dim=-1).to(query.dtype) @ value
    image_key, image_value = image
    to_image = query.to(image_key.dtype) @ image_key.transpose(-1, -2)
    weights = torch.cat([to_image.to(scores.dtype), scores], dim=-1).softmax(dim=-1)
    count = image_key.shape[2]
    from_image = weights[..., :count].to(image_value.dtype) @ image_value
    return from_image + weights[..., count:].to(value.dtype) @ value
