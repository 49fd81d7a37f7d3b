"""All captions of an image side by side in one row, so that one vision pass serves them all.

The idea is sequence packing (Krell et al. 2021, "Efficient Sequence Packing without
Cross-contamination") applied to the captions of one image, which share its cross-attention keys.
Shapes: B images, L tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from captune.records import IGNORE_INDEX, PADDING_CAPTION, CaptionBatch


def pack_captions(
    captions: Sequence[Sequence[Sequence[int]]],
    image_ids: Sequence[str],
    *,
    pad_token_id: int,
    prompt_length: int = 1,
) -> CaptionBatch:
    """A `CaptionBatch` without its images.

    Args:
        captions: For each image its captions as token ids, start and end token included.
        image_ids: B ids.
        pad_token_id: Fills rows up to L; never attended to and never a label.
        prompt_length: Tokens at the start of each caption that take no loss, at least 1.
    """
    length = max((sum(map(len, row)) for row in captions), default=0)
    # Filled in numpy: thousands of small tensors would cost a small model a tenth of its step.
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
            labels[row, start + prompt_length : end] = token_ids[prompt_length:]
            start = end
    return CaptionBatch(
        image_ids=tuple(image_ids),
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        caption_ids=torch.from_numpy(caption_ids),
        labels=torch.from_numpy(labels),
    )
