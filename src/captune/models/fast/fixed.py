"""The text side over caches at fixed addresses, for steps that a device records and replays.

A replay cannot allocate, slice by a number of the host, or wait: the caches have their final size
from the start, and the places of new tokens are a tensor, so that each row is at its own token.
Shapes: B rows, L new tokens per row, H heads, T places for tokens, S image tokens, d width of a
head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from typing_extensions import override

from captune.models.fast.cache import Pair, TextCache
from captune.models.fast.text import FastContext, FastText


@dataclass(slots=True)
class FixedCache(TextCache):
    """A cache whose tensors never change their addresses.

    Attributes:
        places: int64 (B, L), where `write` stores the next tokens of each row.
    """

    places: torch.Tensor = field(default_factory=lambda: torch.zeros((0, 0), dtype=torch.long))

    @override
    def reserve(self, count: int) -> None:
        """Do nothing: all places exist."""

    @override
    def write(self, layer: int, pair: Pair) -> Pair:
        """Store keys and values (B, H, L, d) at `places`; return all of this layer."""
        for stored, new in zip(self.text[layer], pair, strict=True):
            _, heads, _, width = new.shape
            stored.scatter_(2, self.places[:, None, :, None].expand(-1, heads, -1, width), new)
        return self.text[layer]


class FixedText:
    """B rows of images being captioned, each at its own token."""

    def __init__(self, context: FastContext, cache: FixedCache) -> None:
        """Keep the weights of a context, and a cache.

        Args:
            context: A context of the weights that decode.
            cache: The rows.
        """
        # Not the caller's backend: whoever keeps these rows with it must not keep it alive.
        self._text = FastText(context.side)
        self._context = FastContext(context.side, cache)
        self._cache = cache

    @classmethod
    def like(cls, context: FastContext, *, rows: int, places: int) -> FixedText:
        """Return rows without images, for images like those of a context that has read the prompt.

        Args:
            context: Its keys of the image are computed if they are not yet.
            rows: B.
            places: T.
        """
        context.ensure_keys()
        given = context.cache

        def room(like: torch.Tensor, count: int) -> torch.Tensor:
            _, heads, _, width = like.shape
            return like.new_zeros((rows, heads, count, width))

        cache = FixedCache(
            image=[(room(k, k.shape[2]), room(v, v.shape[2])) for k, v in given.image],
            text=[(room(k, places), room(v, places)) for k, v in given.text],
            capacity=places,
        )
        return cls(context, cache)

    def fits(self, context: FastContext) -> bool:
        """Return whether these rows can take the images of a context."""
        context.ensure_keys()
        (own, _), (other, _) = self._cache.image[0], context.cache.image[0]
        is_same = self._context.side is context.side
        return is_same and own.shape[1:] == other.shape[1:] and own.dtype == other.dtype

    @property
    def mask_dtype(self) -> torch.dtype:
        """See `DecodingBackend.mask_dtype`."""
        return self._text.mask_dtype

    def load(self, rows: torch.Tensor, context: FastContext) -> None:
        """Replace rows, int64 (n,), by the images of a context that has only read the prompt."""
        context.ensure_keys()
        self._load(rows, context.cache)

    def grown(self, *, rows: int, places: int) -> FixedText:
        """Return a copy with at least as many rows and places; the new ones are empty."""
        larger = FixedText.like(self._context, rows=rows, places=places)
        count = len(self._cache.image[0][0])
        larger._load(torch.arange(count, device=self._cache.image[0][0].device), self._cache)
        return larger

    def step(
        self,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        places: torch.Tensor,
    ) -> torch.Tensor:
        """Return the logits (B, L, V) of new tokens, and store their keys.

        Args:
            input_ids: int64 (B, L).
            position_ids: int64 (B, L), position of each token in its caption.
            attention_mask: Additive (B, 1, L, T), with the new tokens at their places.
            places: int64 (B, L), each below T.
        """
        self._cache.places = places
        hidden = self._text.hidden_states(
            self._context, input_ids, position_ids=position_ids, attention_mask=attention_mask
        )
        return self._text.lm_head(hidden)

    def _load(self, rows: torch.Tensor, given: TextCache) -> None:
        own = [*self._cache.image, *self._cache.text]
        for stored, new in zip(own, [*given.image, *given.text], strict=True):
            for kept, part in zip(stored, new, strict=True):
                # A prompt's cache may have fewer places or, in a block, more.
                count = min(kept.shape[2], part.shape[2])
                kept[rows, :, :count] = part[:, :, :count]
