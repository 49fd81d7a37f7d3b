"""Captions that share few words with the others of their run: often wrong, or of odd images.

A caption's rarity is the mean over its words of -log(share of captions with that word). Counts
grow during a run, so candidates are ranked again with the final counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

Thing = TypeVar("Thing")

_MAX_WORDS = 50_000
_WORDS_PER_CAPTION = 100
# With fewer captions than this, every word is rare.
_MIN_CAPTIONS = 20


class RareTexts(Generic[Thing]):
    """Keeps the things whose words are the rarest."""

    def __init__(self, limit: int) -> None:
        """Start without captions.

        Args:
            limit: Maximum number of things to keep.
        """
        self._limit = limit
        self._counts: dict[str, int] = {}
        self._total = 0
        self._candidates: list[tuple[Thing, frozenset[str]]] = []

    def __getstate__(self) -> dict[str, Any]:
        """Send to another process only what `rarest` reads: the rest is most of a run's page."""
        best = self._weighed()[: self._limit]
        words = frozenset[str]().union(*(found for _, found in best))
        counts = {word: self._counts[word] for word in words if word in self._counts}
        return {**self.__dict__, "_candidates": best, "_counts": counts}

    def add(self, thing: Thing, words: Sequence[str]) -> None:
        """Count the words of a caption, and keep it if they are rare."""
        self._total += 1
        found = frozenset(word.lower() for word in words[:_WORDS_PER_CAPTION])
        for word in found:
            self._counts[word] = self._counts.get(word, 0) + 1
        if len(self._counts) > _MAX_WORDS:
            # The words dropped are the rarest; from now on, each counts as if it occurred once.
            kept = sorted(self._counts.items(), key=lambda pair: -pair[1])[: _MAX_WORDS // 2]
            self._counts = dict(kept)
        if found:
            self._candidates.append((thing, found))
        if len(self._candidates) > 40 * self._limit:
            self._candidates = self._weighed()[: 10 * self._limit]

    def rarest(self) -> list[Thing]:
        """Return the things whose words are far rarer than usual, the rarest first."""
        if self._total < _MIN_CAPTIONS:
            return []
        ordered = self._weighed()
        least = 0.7 * math.log(self._total)
        rare = [thing for thing, words in ordered if self._rarity(words) > least]
        return rare[: min(self._limit, max(1, self._total // 20))]

    def _weighed(self) -> list[tuple[Thing, frozenset[str]]]:
        return sorted(self._candidates, key=lambda pair: -self._rarity(pair[1]))

    def _rarity(self, words: frozenset[str]) -> float:
        shares = (self._counts.get(word, 1) / self._total for word in words)
        return sum(-math.log(min(1.0, share)) for share in shares) / len(words)
