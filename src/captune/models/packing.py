"""Pack all captions of an image into one row, so that they share one vision pass.

The idea is sequence packing (Krell et al. 2021, "Efficient Sequence Packing without
Cross-contamination") applied to the captions of one image, which share its cross-attention keys.
Block-diagonal causal masks hide the captions of one row from each other. Every family's attention,
eager or SDPA, accepts additive masks with four dimensions.
Shapes: B images or rows, L tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from captune.records import IGNORE_INDEX, PADDING_CAPTION, CaptionBatch


@dataclass(frozen=True, slots=True)
class CaptionLoss:
    """A sum, not a mean, so that accumulation can normalise by the number of tokens.

    Attributes:
        loss_sum: float32 scalar, natural-log cross-entropy summed over `num_tokens`.
        num_tokens: Tokens with a loss.
    """

    loss_sum: torch.Tensor
    num_tokens: int


def pack_captions(
    captions: Sequence[Sequence[Sequence[int]]],
    image_ids: Sequence[str],
    *,
    pad_token_id: int,
    prefix_length: int = 1,
) -> CaptionBatch:
    """Return a `CaptionBatch` without its images.

    Args:
        captions: Per image, its captions as token ids, including prefix and end token.
        image_ids: B ids.
        pad_token_id: Token that pads rows to L; never attended to and never a label.
        prefix_length: Tokens without loss at the start of each caption, at least 1.
    """
    length = max((sum(map(len, row)) for row in captions), default=0)
    # Filled in numpy: thousands of small tensors would take a tenth of a small model's step.
    shape = (len(captions), length)
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    position_ids = np.zeros(shape, dtype=np.int64)
    caption_ids = np.full(shape, PADDING_CAPTION, dtype=np.int64)
    labels = np.full(shape, IGNORE_INDEX, dtype=np.int64)
    for row, image_captions in enumerate(captions):
        start = 0
        for number, token_ids in enumerate(image_captions):
            end = start + len(token_ids)
            input_ids[row, start:end] = token_ids
            position_ids[row, start:end] = range(len(token_ids))
            caption_ids[row, start:end] = number
            labels[row, start + prefix_length : end] = token_ids[prefix_length:]
            start = end
    return CaptionBatch(
        image_ids=tuple(image_ids),
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        caption_ids=torch.from_numpy(caption_ids),
        labels=torch.from_numpy(labels),
    )


def packed_causal_mask(caption_ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask (B, 1, L, L): tokens see themselves and their caption before them.

    Padding tokens see only themselves, so that no softmax runs over an empty row.

    Args:
        caption_ids: int64 (B, L), number of each token's caption; -1: padding.
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
    """Return 0 where `visible` (bool, any shape) is true, the minimum of `dtype` elsewhere."""
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)


def sum_token_losses(
    logits: torch.Tensor, targets: torch.Tensor, *, label_smoothing: float
) -> CaptionLoss:
    """Return the cross-entropy of tokens, in float32 or wider.

    Args:
        logits: (N, V), one row per token.
        targets: int64 (N,).
        label_smoothing: 0..1.
    """
    loss_sum = functional.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)),
        targets,
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    return CaptionLoss(loss_sum, len(targets))
