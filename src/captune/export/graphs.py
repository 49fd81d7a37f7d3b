"""The two graphs of an exported captioner, as torch modules.

`VisionGraph` computes the keys and values of an image once; `StepGraph` appends tokens to B rows.
All beams of an image are side by side in its row, behind a mask, as in captune's own decoding.
Shapes: B images, L new tokens per row, T past tokens, S vision tokens, D width, N layers.
"""

from __future__ import annotations

import torch
from torch import nn

from captune.export.text_layers import TextParts
from captune.models import Captioner


class VisionGraph(nn.Module):
    """Pixels (B, C, H, W) to the image's keys and values of every text layer, 2 N tensors."""

    def __init__(self, captioner: Captioner, parts: TextParts) -> None:
        super().__init__()
        self.stages = nn.ModuleList(captioner.vision_stages())
        self.image_keys = parts.image_keys

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return key and value of layer 0, of layer 1, ..., each (B, H, S, E)."""
        states = pixel_values
        for stage in self.stages:
            states = stage(states)
        return tuple(tensor for pair in self.image_keys(states) for tensor in pair)


class StepGraph(nn.Module):
    """New tokens, masks and keys to logits and the new tokens' keys."""

    def __init__(self, parts: TextParts) -> None:
        super().__init__()
        self.embed = parts.embed
        self.layers = nn.ModuleList(parts.layers)
        self.norm, self.head = parts.norm, parts.head

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        mask: torch.Tensor,
        image: list[torch.Tensor],
        past: list[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """Return logits (B, L, V), their log-sum-exp (B, L), and new keys and values (L, B, D).

        Args:
            input_ids: int64 (B, L).
            position_ids: int64 (B, L).
            mask: float32 additive (B, L, T + L).
            image: 2 N tensors of `VisionGraph`.
            past: 2 N tensors (T, B, D), T may be 0.
        """
        states = self.embed(input_ids, position_ids)
        rows = mask[:, None]
        new: list[torch.Tensor] = []
        for number, layer in enumerate(self.layers):
            pair = slice(2 * number, 2 * number + 2)
            states, keys, values = layer(states, rows, tuple(image[pair]), tuple(past[pair]))
            new += [keys, values]
        if self.norm is not None:
            states = self.norm(states)
        logits = self.head(states)
        return logits, logits.logsumexp(dim=-1), *new
