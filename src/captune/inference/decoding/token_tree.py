"""Packed beams: all beams of an image are side by side in one row.

Beam search usually repeats an image's keys and values for each beam and reorders the whole cache
at each step. Here nothing is repeated or reordered: the image's keys are stored once, each step
appends K tokens to the row, and a beam's history is a row of the attention mask over all past
tokens of the image.
With a backend that can replace images, a new image takes the row of one that has ended, or another
row, while the others continue.
Source: token-tree attention of Miao et al. 2023, "SpecInfer" (arXiv:2305.09781), used here for
search instead of verification.
Shapes: B images, K beams, P prompt tokens, T text tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from captune.inference.decoding.backend import (
    DecodingBackend,
    DecodingContext,
    JoiningBackend,
    JoiningContext,
)
from captune.models import additive_mask


class TokenTree:
    """The tokens of B images, with K branches each, over the backend's cache."""

    def __init__(
        self,
        backend: DecodingBackend,
        vision_states: torch.Tensor,
        *,
        context: DecodingContext | None = None,
    ) -> None:
        """Start a tree without tokens.

        Args:
            backend: Computes the logits.
            vision_states: (B, S, D).
            context: Their context, if it has been started already.
        """
        self._backend = backend
        self._context: DecodingContext = context or backend.start_decoding(vision_states)
        batch, device = len(vision_states), vision_states.device
        self._visible = torch.ones((batch, 1, 0), dtype=torch.bool, device=device)
        self._depths = torch.zeros((batch, 1), dtype=torch.long, device=device)
        self._prompt_ids: Sequence[int] = ()
        # The place of the next tokens; after `allow_replacing`, where places are reused, and the
        # last position of a caption.
        self._place = 0
        self._ring_end: int | None = None
        self._last_position = 0

    def prefill(self, prompt_ids: Sequence[int]) -> torch.Tensor:
        """Return the logits (B, V) of the token after the prompt, the root of all branches."""
        batch, length = len(self._visible), len(prompt_ids)
        device = self._visible.device
        input_ids = torch.tensor(prompt_ids, device=device).expand(batch, length)
        visible = torch.ones((length, length), dtype=torch.bool, device=device).tril()
        positions = torch.arange(length, device=device).expand_as(input_ids)
        hidden = self._append(input_ids, visible.expand(batch, length, length), positions)
        self._visible = torch.ones((batch, 1, length), dtype=torch.bool, device=device)
        self._depths = self._depths + length
        self._prompt_ids, self._place = prompt_ids, length
        return self._backend.lm_head(hidden[:, -1])

    def allow_replacing(self, *, branches: int, max_new_tokens: int) -> bool:
        """Prepare for `replace` and `extend`, after `prefill`; return whether the backend can.

        Args:
            branches: K.
            max_new_tokens: Maximum number of generated tokens per image; the memory of older ones
                is reused.
        """
        if not isinstance(self._backend, JoiningBackend):
            return False
        assert isinstance(self._context, JoiningContext)
        self._context.close_ring(branches * max_new_tokens)
        self._ring_end = self._place + branches * max_new_tokens
        self._last_position = self._place + max_new_tokens - 1
        return True

    def replace(self, rows: torch.Tensor, vision_states: torch.Tensor) -> torch.Tensor:
        """Replace images that have ended; return the logits (n, V) after the new ones' prompt.

        Args:
            rows: int64 (n,), the rows of those images.
            vision_states: (n, S, D) of the new images.
        """
        assert isinstance(self._context, JoiningContext)
        context, logits = self._read_prompt(vision_states)
        self._context.replace(rows, context)
        self._visible[rows] = self._see_prompt(len(rows))
        self._depths[rows] = len(self._prompt_ids)
        return logits

    def extend(self, vision_states: torch.Tensor) -> torch.Tensor:
        """Append rows of new images; return the logits (n, V) after their prompt.

        Args:
            vision_states: (n, S, D).
        """
        assert isinstance(self._context, JoiningContext)
        context, logits = self._read_prompt(vision_states)
        self._context.extend(context)
        self._visible = torch.cat([self._visible, self._see_prompt(len(logits))])
        depths = self._depths.new_full((len(logits), 1), len(self._prompt_ids))
        self._depths = torch.cat([self._depths, depths])
        return logits

    def grow(self, parents: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K, V) after one more token per branch.

        Args:
            parents: int64 (B, K), the branch that each new branch continues; zeros after
                `prefill`.
            token_ids: int64 (B, K), the next token of each new branch.
        """
        batch, branches = token_ids.shape
        if self._visible.shape[1] == 1:
            history = self._visible.expand(-1, branches, -1)
        else:
            index = parents[:, :, None].expand(-1, -1, self._visible.shape[2])
            history = self._visible.gather(1, index)
        own = torch.eye(branches, dtype=torch.bool, device=token_ids.device)
        own = own.expand(batch, branches, branches)
        end = self._place + branches
        self._visible = torch.cat([history[:, :, : self._place], own, history[:, :, end:]], dim=2)
        positions = self._depths
        if self._ring_end is not None:
            # An image that has ended grows on until it is replaced.
            positions = positions.clamp(max=self._last_position)
        hidden = self._append(token_ids, self._visible, positions.expand_as(token_ids))
        self._depths = self._depths + 1
        self._place = len(self._prompt_ids) if end == self._ring_end else end
        return self._backend.lm_head(hidden)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all images except `rows`, int64 indices of current images."""
        self._visible, self._depths = self._visible[rows], self._depths[rows]
        if self._context.vision_states is not None:
            self._context.vision_states = self._context.vision_states[rows]
        self._context.cache.batch_select_indices(rows)

    def _read_prompt(self, vision_states: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Return a context of new images after their prompt, and the logits (n, V) that follow."""
        assert isinstance(self._backend, JoiningBackend)
        context = self._backend.join(self._context, vision_states)
        fresh = TokenTree(self._backend, vision_states, context=context)
        return context, fresh.prefill(self._prompt_ids)

    def _see_prompt(self, count: int) -> torch.Tensor:
        """Return what new images see of the places, (n, K or 1, T): the prompt."""
        visible = self._visible.new_zeros((count, *self._visible.shape[1:]))
        visible[:, :, : len(self._prompt_ids)] = True
        return visible

    def _append(
        self, input_ids: torch.Tensor, visible: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        return self._backend.hidden_states(
            self._context,
            input_ids,
            position_ids=positions,
            attention_mask=additive_mask(visible, self._backend.mask_dtype)[:, None],
        )
