"""Numbers of the chunks of a text, most of them looked up without creating a string.

Two machine words hold a chunk of up to 16 bytes, and nine out of ten chunks occurred in an earlier
text. numpy hashes all chunks of a text at once and finds those in a table of slots; only the others
are converted to strings and looked up by name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

MAX_BYTES = 16
"""Longer chunks are always looked up as strings."""
SLOT_BITS = 15
"""The number of slots is 2 to this power: about 0.7 MB."""

_BLANK = ord(" ")
_FREE = -1  # Not the length of any chunk.
# The first n bytes of a machine word.
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
# Arbitrary odd numbers without a pattern.
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93], np.uint64)


class ChunkSlots:
    """A table of chunks; a slot keeps the first chunk that used it.

    Args:
        number_of: Returns the number of a chunk, always the same; called in the order of the text.
    """

    def __init__(self, number_of: Callable[[str], int]) -> None:
        self._number_of = number_of
        size = 1 << SLOT_BITS
        self._low = np.zeros(size, np.uint64)
        self._high = np.zeros(size, np.uint64)
        self._length = np.full(size, _FREE, np.int8)
        self._number = np.zeros(size, np.int32)

    def number(self, text: str) -> Ranks:
        """Return the number of each chunk of a text, int32.

        Args:
            text: Chunks, each followed by one space.
        """
        raw = text.encode("utf-8", "surrogatepass") + bytes(MAX_BYTES)
        stops = np.flatnonzero(np.frombuffer(raw, np.uint8) == _BLANK)
        starts = np.zeros_like(stops)
        starts[1:] = stops[:-1] + 1
        lengths = stops - starts
        low, high = _read_words(raw, starts, lengths)
        slots = _hash(low, high, lengths)
        known = self._length[slots] == lengths
        known &= self._low[slots] == low
        known &= self._high[slots] == high
        numbers = self._number[slots]
        new = np.flatnonzero(~known)
        bounds = zip(starts[new].tolist(), stops[new].tolist(), strict=True)
        numbers[new] = [
            self._number_of(raw[start:stop].decode("utf-8", "surrogatepass"))
            for start, stop in bounds
        ]
        kept = new[(lengths[new] <= MAX_BYTES) & (self._length[slots[new]] == _FREE)]
        # If two chunks share a slot, the last assignment stays, which is that of the first chunk.
        kept = kept[::-1]
        slots = slots[kept]
        self._low[slots], self._high[slots] = low[kept], high[kept]
        self._length[slots], self._number[slots] = lengths[kept], numbers[kept]
        return numbers


def _read_words(raw: bytes, starts: Ints, lengths: Ints) -> tuple[Words, Words]:
    """Return the first eight bytes of each chunk and the next eight, padded with zeros."""
    # Overlapping words, one starting at each byte.
    words = np.ndarray((len(raw) - 7,), np.dtype("<u8"), raw, strides=(1,))
    return (
        words[starts] & _MASKS[np.minimum(lengths, 8)],
        words[np.minimum(starts + 8, len(words) - 1)] & _MASKS[np.clip(lengths - 8, 0, 8)],
    )


def _hash(low: Words, high: Words, lengths: Ints) -> Ints:
    mixed = low * _MIX[0]
    mixed ^= high * _MIX[1]
    mixed += lengths.astype(np.uint64)
    mixed *= _MIX[2]
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX[0]
    slots: Ints = (mixed >> np.uint64(64 - SLOT_BITS)).astype(np.int64)
    return slots
