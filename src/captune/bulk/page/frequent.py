"""The most frequent texts of a stream, and the number of distinct ones, in bounded memory.

Up to `_MAX_COUNTED` distinct texts, both are exact.

Source: Metwally et al. (2005), Space-Saving; Whang et al. (1990), linear counting.
"""

from __future__ import annotations

import hashlib
import math

_MAX_COUNTED = 4_096
_BYTES = 1 << 20
_BITS = 8 * _BYTES


class FrequentTexts:
    """Counts texts; a count may be too high by at most `uncertainty`."""

    def __init__(self) -> None:
        """Start without texts."""
        self._counts: dict[str, int] = {}
        self._bits = bytearray(_BYTES)
        self._num_bits = 0
        self.total, self.uncertainty = 0, 0

    def add(self, text: str) -> None:
        """Count one text."""
        self.total += 1
        self._mark(text)
        if text in self._counts or len(self._counts) < _MAX_COUNTED:
            self._counts[text] = self._counts.get(text, 0) + 1
            return
        self._make_room()
        self._counts[text] = self.uncertainty + 1

    def most_common(self, limit: int) -> list[tuple[str, int]]:
        """Return the texts that certainly occur more than once, with minimum counts."""
        found = [(text, count - self.uncertainty) for text, count in self._counts.items()]
        repeated = [(text, count) for text, count in found if count > 1]
        return sorted(repeated, key=lambda pair: -pair[1])[:limit]

    def num_different(self) -> int:
        """Return the number of distinct texts: exact for few, within about 1 % for millions."""
        if not self.uncertainty:
            return len(self._counts)
        share = max(1, _BITS - self._num_bits) / _BITS
        return min(self.total, round(-_BITS * math.log(share)))

    def _make_room(self) -> None:
        # A quarter at a time, so that finding the rarest costs little per text.
        ordered = sorted(self._counts.values())
        self.uncertainty = max(self.uncertainty, ordered[len(ordered) // 4])
        self._counts = {t: n for t, n in self._counts.items() if n > self.uncertainty}

    def _mark(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        place, bit = divmod(int.from_bytes(digest, "little") % _BITS, 8)
        if not self._bits[place] >> bit & 1:
            self._bits[place] |= 1 << bit
            self._num_bits += 1
