"""Keys and values of the images and of the tokens so far, in memory allocated in blocks.

Free places of a block are masked, not sliced off: a product reads dense memory several times faster
than a slice of it. In a ring, places are reused: a new image may replace one that has ended, and
the memory of an endless stream of images stays constant.
Shapes: B images, H heads, S image tokens, T text tokens (free places included), d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

_STEPS = 16
"""Number of steps that a block has room for."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of the same tokens."""


@dataclass(slots=True)
class TextCache:
    """The cache of all layers.

    Attributes:
        image: Per layer, keys and values of the image (B, H, S, d).
        text: Per layer, keys and values of the tokens (B, H, T, d); empty before the first.
        length: Number of tokens that have been stored.
        capacity: T, number of places for tokens.
        kept: Number of first places that are never reused: those of the prompt.
        ring: Number of places after them that are reused in turn; `None`: none are reused.
    """

    image: list[Pair] = field(default_factory=list)
    text: list[Pair] = field(default_factory=list)
    length: int = 0
    capacity: int = 0
    kept: int = 0
    ring: int | None = None

    @property
    def place(self) -> int:
        """The place of the next token."""
        if self.ring is None:
            return self.length
        return self.kept + (self.length - self.kept) % self.ring

    def close_ring(self, places: int) -> None:
        """Reuse places from now on, after so many more tokens."""
        self.kept, self.ring = self.length, places
        most = self.kept + places
        if self.capacity > most:
            self.capacity = most
            self.text = [
                (key[:, :, :most].contiguous(), value[:, :, :most].contiguous())
                for key, value in self.text
            ]

    def reserve(self, count: int) -> None:
        """Make room for `count` more tokens per image; in a ring, a divisor of its places."""
        if self.place + count > self.capacity:
            self.capacity += _STEPS * count
            if self.ring is not None:
                self.capacity = min(self.capacity, self.kept + self.ring)

    def write(self, layer: int, pair: Pair) -> Pair:
        """Store keys and values (B, H, L, d) of reserved tokens; return all of this layer."""
        key, value = pair
        if layer == len(self.text):
            self.text.append((_room(key, self.capacity), _room(value, self.capacity)))
        keys, values = self.text[layer]
        missing = self.capacity - keys.shape[2]
        if missing:
            keys = torch.cat([keys, _room(key, missing)], dim=2)
            values = torch.cat([values, _room(value, missing)], dim=2)
            self.text[layer] = keys, values
        now = slice(self.place, self.place + key.shape[2])
        keys[:, :, now] = key
        values[:, :, now] = value
        return keys, values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows of these images, int64, in this order."""
        self.image = [(key[indices], value[indices]) for key, value in self.image]
        self.text = [(key[indices], value[indices]) for key, value in self.text]

    def replace(self, rows: torch.Tensor, other: TextCache) -> None:
        """Replace images `rows`, int64, by those of a cache that holds only the same prompt."""
        for (key, value), (new_key, new_value) in zip(self.image, other.image, strict=True):
            key[rows], value[rows] = new_key, new_value
        for (key, value), (new_key, new_value) in zip(self.text, other.text, strict=True):
            key[rows, :, : self.kept] = new_key[:, :, : self.kept]
            value[rows, :, : self.kept] = new_value[:, :, : self.kept]

    def extend(self, other: TextCache) -> None:
        """Append the images of a cache that holds only the same prompt."""
        self.image = [
            (torch.cat([key, new_key]), torch.cat([value, new_value]))
            for (key, value), (new_key, new_value) in zip(self.image, other.image, strict=True)
        ]
        self.text = [
            (_append_rows(key, new_key, self.kept), _append_rows(value, new_value, self.kept))
            for (key, value), (new_key, new_value) in zip(self.text, other.text, strict=True)
        ]


def _append_rows(old: torch.Tensor, new: torch.Tensor, kept: int) -> torch.Tensor:
    """Append the first `kept` places of new rows to (B, H, T, d); their other places are zeros."""
    batch, heads, _, width = new.shape
    rows = old.new_zeros((batch, heads, old.shape[2], width))
    rows[:, :, :kept] = new[:, :, :kept]
    return torch.cat([old, rows])


def _room(like: torch.Tensor, places: int) -> torch.Tensor:
    """Return zeros (B, H, places, d); not empty memory, because products read masked places too."""
    batch, heads, _, width = like.shape
    return like.new_zeros((batch, heads, places, width))
