"""Image decoding for a server: the images are untrusted, so memory limits are tighter.

Together, the decoding processes of a model's process use at most 1.5 GB, however many large images
arrive at once.
"""

from __future__ import annotations

from captune.data import IsolatedDecoder, Limits, PixelSlots, count_threads

_MAX_CHILDREN = 4
_NUM_SLOTS = 13
"""Slots of 4 megapixels: enough for one image of 50 megapixels at a time, or several small ones."""

_BASE_BYTES = 96 << 20
"""Memory per process besides the pixels: the file, its text chunks and its colour profile."""


def count_decoders() -> int:
    """Return how many images are decoded at once."""
    return min(_MAX_CHILDREN, count_threads())


def open_server_decoder(max_pixels: int) -> IsolatedDecoder:
    """Return the decoder for a model's process, a context manager.

    Args:
        max_pixels: Images with more pixels are rejected.
    """
    return IsolatedDecoder(
        count_decoders(),
        max_pixels=max_pixels,
        slots=PixelSlots.for_threads(num_slots=_NUM_SLOTS),
        limits=Limits(base_bytes=_BASE_BYTES),
    )
