"""Block-diagonal causal masks: what keeps the captions of one row blind to each other.

Additive masks in four dimensions are the one form that every family's attention takes, eager or
SDPA. Shapes: B rows, L tokens of a row.
"""

from __future__ import annotations

import torch

from captune.records import PADDING_CAPTION


def packed_causal_mask(caption_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (B, 1, L, L): a token sees itself and earlier tokens of its own caption.

    Padding tokens see themselves only, so that no softmax runs over an empty row.

    Args:
        caption_ids: int64 (B, L), which caption a token belongs to, -1 = padding.
        dtype: Floating type of the mask; hidden positions hold its minimum.
    """
    length = caption_ids.shape[1]
    same_caption = caption_ids[:, :, None] == caption_ids[:, None, :]
    real = caption_ids != PADDING_CAPTION
    visible = same_caption & real[:, :, None]
    visible = visible & torch.ones(length, length, dtype=torch.bool, device=visible.device).tril()
    visible = visible | torch.eye(length, dtype=torch.bool, device=visible.device)
    return additive_mask(visible, dtype)[:, None]


def additive_mask(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where `visible` (bool, any shape) is true, the minimum of `dtype` elsewhere."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)
