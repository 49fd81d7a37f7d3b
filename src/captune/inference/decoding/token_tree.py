"""Packed beams: all beams of an image are side by side in one row.

Beam search usually repeats an image's keys and values for each beam and reorders the whole cache
at each step. Here nothing is repeated or reordered: the image's keys are stored once, each step
appends K tokens to the row, and a beam's history is a row of the attention mask over all past
tokens of the image.
Source: token-tree attention of Miao et al. 2023, "SpecInfer" (arXiv:2305.09781), used here for
search instead of verification.
Shapes: B images, K beams, P prompt tokens, T text tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captune.inference.decoding.backend import DecodingBackend, DecodingContext
from captune.models import additive_mask


class TokenTree:
    """The tokens of B images, with K branches each, over the backend's cache."""

    def __init__(self, backend: DecodingBackend, vision_states: torch.Tensor) -> None:
        """Start a tree without tokens over vision states (B, S, D)."""
        self._backend = backend
        self._context: DecodingContext = backend.start_decoding(vision_states)
        self._visible = torch.ones(
            (len(vision_states), 1, 0), dtype=torch.bool, device=vision_states.device
        )
        self._depth = 0

    def prefill(self, prompt_ids: Sequence[int]) -> torch.Tensor:
        """Return the logits (B, V) of the token after the prompt, the root of all branches."""
        batch, length = len(self._visible), len(prompt_ids)
        device = self._visible.device
        input_ids = torch.tensor(prompt_ids, device=device).expand(batch, length)
        visible = torch.ones((length, length), dtype=torch.bool, device=device).tril()
        hidden = self._append(input_ids, visible.expand(batch, length, length), length)
        self._visible = torch.ones((batch, 1, length), dtype=torch.bool, device=device)
        return self._backend.lm_head(hidden[:, -1])

    def grow(self, parents: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K, V) after one more token per branch.

        Args:
            parents: int64 (B, K), the branch that each new branch continues; zeros after
                `prefill`.
            token_ids: int64 (B, K), the next token of each new branch.
        """
        batch, branches = token_ids.shape
        history = self._visible.gather(
            1, parents[:, :, None].expand(-1, -1, self._visible.shape[2])
        )
        own = torch.eye(branches, dtype=torch.bool, device=token_ids.device)
        self._visible = torch.cat([history, own.expand(batch, branches, branches)], dim=2)
        return self._backend.lm_head(self._append(token_ids, self._visible, 1))

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all images except `rows`, int64 indices of current images."""
        self._visible = self._visible[rows]
        if self._context.vision_states is not None:
            self._context.vision_states = self._context.vision_states[rows]
        self._context.cache.batch_select_indices(rows)

    def _append(self, input_ids: torch.Tensor, visible: torch.Tensor, levels: int) -> torch.Tensor:
        positions = torch.arange(self._depth, self._depth + levels, device=input_ids.device)
        self._depth += levels
        return self._backend.hidden_states(
            self._context,
            input_ids,
            position_ids=positions.expand_as(input_ids),
            attention_mask=additive_mask(visible, self._backend.mask_dtype)[:, None],
        )
