"""The interface that decoding needs from a model's text side: one property and three methods.

`captune.models.fast_text` returns the torch backend, and `captune.models.Captioner` is its slow
twin. Shapes: B images, L new tokens per row, T text tokens in the cache, S vision tokens, D width,
V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch


class DecodingCache(Protocol):
    """Keys and values of earlier steps."""

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows of these images, int64, in this order."""


class DecodingContext(Protocol):
    """Vision states and cache of the images being captioned.

    Attributes:
        vision_states: (B, S, D), one row per image whatever the number of beams; `None` if the
            backend needs only the cache.
        cache: A `DecodingCache`.
    """

    vision_states: torch.Tensor | None
    cache: Any


class DecodingBackend(Protocol):
    """A model that appends tokens to the captions of B images."""

    @property
    def mask_dtype(self) -> torch.dtype:
        """Floating type of the attention mask."""

    def start_decoding(self, vision_states: torch.Tensor) -> Any:
        """Return a `DecodingContext` of vision states (B, S, D), without tokens."""

    def hidden_states(
        self,
        context: Any,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the last hidden states (B, L, D) of new tokens, and append them to the cache.

        Args:
            context: From `start_decoding`.
            input_ids: int64 (B, L); the beams of an image are side by side in its row.
            position_ids: int64 (B, L), position of each token in its own caption.
            attention_mask: Additive (B, 1, L, T) over the text tokens, including new ones.
        """

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the logits (..., V) of hidden states (..., D)."""


@runtime_checkable
class JoiningContext(DecodingContext, Protocol):
    """A context whose images can be replaced, and which other images can join."""

    def close_ring(self, places: int) -> None:
        """Reuse the places of tokens from now on, after so many more tokens per image."""

    def replace(self, rows: torch.Tensor, other: Any) -> None:
        """Replace images `rows`, int64, by those of a context that has only read the prompt."""

    def extend(self, other: Any) -> None:
        """Append the images of a context that has only read the prompt."""


@runtime_checkable
class JoiningBackend(DecodingBackend, Protocol):
    """A backend whose running contexts take new images in place of others."""

    def join(self, context: Any, vision_states: torch.Tensor) -> Any:
        """Return a context of new images, for `replace` or `extend` of a running context."""
