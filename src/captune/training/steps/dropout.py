"""Dropout with cheap masks on CPU, where torch's masks took a sixth of a training step.

torch draws a 32-bit random number for each unit. Here one draw of 64 bits masks four units, and the
share dropped is exact to 1 / 65536. Measured on 2 cores for (32, 49, 1536) float32, forward and
backward: 6.5 ms instead of 31 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

_LEVELS = 65_536
_ATTENTION = "captune_packed_dropout"


class PackedDropout(nn.Dropout):
    """`nn.Dropout` from packed random bits of torch's default CPU generator.

    The distribution is the same, but a given seed drops other units than with `nn.Dropout`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return `input` with a share `p` of its units zero, the others scaled by 1 / (1 - p)."""
        return _packed_dropout(input, self.p) if self.training else input


def use_packed_dropout(model: nn.Module) -> int:
    """Convert a model's `nn.Dropout` modules to `PackedDropout`; return their number.

    They are still instances of `nn.Dropout` and have no weights, so saved folders do not change.
    Decoders of `VisionEncoderDecoderModel`s drop attention in a function, which is replaced too.
    """
    decoder = getattr(model, "decoder", None)
    if decoder is not None and decoder.config._attn_implementation == "eager":
        AttentionInterface.register(_ATTENTION, _attention)
        # Without this entry transformers would build no masks for it, and tokens would attend to
        # later ones.
        AttentionMaskInterface.register(_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        decoder.set_attn_implementation(_ATTENTION)
    modules = [module for module in model.modules() if type(module) is nn.Dropout]
    for module in modules:
        module.__class__ = PackedDropout
    return len(modules)


def _packed_dropout(input: torch.Tensor, share: float) -> torch.Tensor:
    if not 0.0 < share < 1.0:
        return nn.functional.dropout(input, share)
    keep = 1.0 - share
    count = input.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[:count].view(input.shape)
    mask = torch.empty(input.shape, dtype=input.dtype)
    torch.lt(bits, round(keep * _LEVELS) - _LEVELS // 2, out=mask)
    return input * mask.mul_(1.0 / keep)


def _attention(
    module: nn.Module, *tensors: torch.Tensor, **settings: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eager attention over (B, heads, L, D) as in transformers, with packed dropout.

    transformers passes query, key, value and mask (or None), `scaling` and `dropout`, and settings
    that eager attention ignores.
    """
    query, key, value, attention_mask = tensors
    given = settings.get("scaling")
    scaling = query.shape[-1] ** -0.5 if given is None else given
    scores = torch.matmul(query, key.transpose(-1, -2)).mul_(scaling)
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = scores.softmax(-1).to(value.dtype)
    if module.training:
        probabilities = _packed_dropout(probabilities, settings.get("dropout", 0.0))
    return torch.matmul(probabilities, value).transpose(1, 2), probabilities
