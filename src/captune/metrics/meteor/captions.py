"""Captions as concatenated word numbers, and the expansion of ranges for ragged arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.packed import PackedCaptions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Captions:
    """Concatenated word numbers of many captions.

    Attributes:
        words: int64: word numbers.
        starts: int64 (N + 1,): caption n is `words[starts[n]:starts[n + 1]]`.
    """

    words: Ints
    starts: Ints

    @classmethod
    def of_packed(cls, captions: PackedCaptions) -> Captions:
        """Return the captions in this form, from the form that the other metrics count."""
        starts = np.append(0, np.cumsum(captions.lengths))
        return cls(captions.words.astype(np.int64), starts)

    @property
    def lengths(self) -> Ints:
        """Number of words in each caption, int64 (N,)."""
        return np.diff(self.starts)

    def slice(self, first: int, last: int) -> Captions:
        """Return captions `first` to `last - 1`."""
        starts = self.starts[first : last + 1]
        return Captions(self.words[starts[0] : starts[-1]], starts - starts[0])

    def take(self, places: Ints) -> Captions:
        """Return the captions at some indices; a repeated index repeats its caption."""
        lengths = self.lengths[places]
        words = self.words[expand_ranges(self.starts[places], lengths)]
        return Captions(words, np.append(0, np.cumsum(lengths)))

    def join(self, other: Captions) -> Captions:
        """Return these captions followed by others."""
        words = np.concatenate([self.words, other.words])
        return Captions(words, np.append(self.starts, self.starts[-1] + other.starts[1:]))


def expand_ranges(starts: Ints, counts: Ints) -> Ints:
    """Return the concatenated numbers `start, start + 1, ...` of every range, int64."""
    total = int(counts.sum())
    firsts = np.cumsum(counts) - counts
    places: Ints = np.arange(total, dtype=np.int64) + np.repeat(starts - firsts, counts)
    return places
