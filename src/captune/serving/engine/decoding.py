"""Decoding for a server: strangers choose the images, so memory is shared more tightly.

Together, the children take 1.5 GB at most, however many images that need gigabytes arrive at once.
"""

from __future__ import annotations

from captune.data import IsolatedDecoder, Limits, PixelSlots, count_threads

_MAX_CHILDREN = 4
_NUM_SLOTS = 13
"""Of 4 megapixels: one image of 50 megapixels at a time, or several small ones."""

_BASE_BYTES = 96 << 20
"""Of each child, besides what the pixels need: for the file, its texts and its colour profile."""


def count_decoders() -> int:
    """Return how many images are decoded at once."""
    return min(_MAX_CHILDREN, count_threads())


def open_server_decoder(max_pixels: int) -> IsolatedDecoder:
    """Return the decoder of a model's process, closed after use."""
    return IsolatedDecoder(
        count_decoders(),
        max_pixels=max_pixels,
        slots=PixelSlots.for_threads(num_slots=_NUM_SLOTS),
        limits=Limits(base_bytes=_BASE_BYTES),
    )
