"""Words and n-grams as integers: what BLEU, CIDEr and the diversity metrics count.

One sort of packed (n-gram, position) integers per order gives counts, document frequencies and
ranks, without a Python object per n-gram. Letters: C captions, W words in total, G different
n-grams, E entries, where an entry is one n-gram of one caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.packed import Ints, PackedCaptions, Ranks

ORDERS = 4
"""BLEU and CIDEr count n-grams of 1 to 4 words."""

UNKNOWN = -1
"""Rank of an n-gram that is not in a table."""

Counts = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class NgramKeys:
    """The different n-grams of one order; the index of one in `keys` is its rank.

    Attributes:
        keys: int64 (G,), ascending: rank of the first n - 1 words * `base` + id of the last word.
        base: Factor in `keys`, greater than every word id.
    """

    keys: Ints
    base: int


@dataclass(frozen=True, slots=True)
class NgramTable:
    """All n-grams of one order, each with the captions that contain it.

    Attributes:
        ngrams: The G n-grams.
        offsets: int32 (G + 1,), the entries of n-gram g are `offsets[g]:offsets[g + 1]`.
        captions: int32 (E,), caption of each entry, ascending within an n-gram.
        counts: uint8 (E,), uint16 or uint32 if a count needs it: how often the n-gram occurs in
            that caption.
    """

    ngrams: NgramKeys
    offsets: Ranks
    captions: Ranks
    counts: Counts

    @property
    def entry_ranks(self) -> Ranks:
        """int32 (E,), the n-gram of each entry."""
        return np.repeat(np.arange(len(self.ngrams.keys), dtype=np.int32), np.diff(self.offsets))


def count_ngrams(captions: PackedCaptions, *, num_words: int) -> tuple[NgramTable, ...]:
    """Count the n-grams of 1 to `ORDERS` words; n-grams never cross captions.

    Args:
        captions: C captions.
        num_words: Size of the vocabulary, greater than every word id.

    Returns:
        One table per order.
    """
    words = captions.words
    caption_of = np.repeat(np.arange(len(captions.lengths), dtype=np.int32), captions.lengths)
    rank_at = np.zeros(len(words), np.int32)
    tables = []
    for order in range(1, ORDERS + 1):
        span = max(0, len(words) - order + 1)
        inside = caption_of[:span] == caption_of[len(words) - span :]
        # In place if possible: with millions of words, new memory costs more than arithmetic.
        keys = rank_at[:span][inside].astype(np.int64)
        keys *= num_words
        keys += words[len(words) - span :][inside]
        keys, at = sort_with_positions(keys, np.flatnonzero(inside), limit=len(words))
        tables.append(_group(keys, at, caption_of=caption_of, rank_at=rank_at, base=num_words))
    return tuple(tables)


def sort_with_positions(keys: Ints, positions: Ints, *, limit: int) -> tuple[Ints, Ranks]:
    """Sort by key, then position.

    Args:
        keys: int64 (P,), not negative; overwritten.
        positions: int64 (P,), ascending and below `limit`.
        limit: Number greater than every position.

    Returns:
        The sorted keys and their positions, int32.
    """
    bits = max(1, int(limit).bit_length())
    if len(keys) and int(keys.max()) >> (62 - bits):
        # Above about 10^8 words the two do not fit into one integer; slower, the same order.
        order = np.argsort(keys, kind="stable")
        return keys[order], positions[order].astype(np.int32)
    # One array throughout: with millions of words this step needs more memory than any other.
    keys <<= bits
    keys |= positions
    del positions
    keys.sort()
    at = (keys & ((1 << bits) - 1)).astype(np.int32)
    keys >>= bits
    return keys, at


def _group(
    keys: Ints, positions: Ranks, *, caption_of: Ranks, rank_at: Ranks, base: int
) -> NgramTable:
    """Build the table of sorted keys, and write each position's rank into `rank_at`."""
    captions = caption_of[positions]
    new_key = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=new_key[1:])
    ranks = np.cumsum(new_key, dtype=np.int32)
    ranks -= np.int32(1)
    rank_at[positions] = ranks
    del ranks, positions
    new_entry = np.ones(len(keys), np.bool_)
    np.not_equal(captions[1:], captions[:-1], out=new_entry[1:])
    new_entry |= new_key
    starts = np.flatnonzero(new_entry)
    counts = measure_gaps(starts, end=len(keys))
    return NgramTable(
        ngrams=NgramKeys(keys[new_key], base),
        offsets=np.append(np.flatnonzero(new_key[starts]), len(starts)).astype(np.int32),
        captions=captions[starts],
        counts=counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
    )


def measure_gaps(starts: Ints | Ranks, *, end: int) -> Ranks:
    """Return the distance from each ascending start to the next, and from the last to `end`."""
    gaps = np.empty(len(starts), np.int32)
    np.subtract(starts[1:], starts[:-1], out=gaps[:-1], casting="unsafe")
    gaps[-1:] = end - starts[-1:]
    return gaps


def translate_ranks(
    source: Sequence[NgramKeys], target: Sequence[NgramKeys], *, words: Ints | None = None
) -> list[Ints]:
    """Return the rank in `target` of each n-gram of `source`.

    Args:
        source: N-grams of 1 to `ORDERS` words.
        target: N-grams of the same orders.
        words: int64, the target's id of each source word, `UNKNOWN` if it has none; `None`: both
            share their ids.

    Returns:
        One int64 (G,) array per order, `UNKNOWN` for n-grams that are not in `target`.
    """
    ranks: list[Ints] = []
    for order, (own, other) in enumerate(zip(source, target, strict=True)):
        last = own.keys % own.base
        last = last if words is None else words[last]
        known = (last >= 0) & (last < other.base)
        wanted = last
        if order:
            prefix = ranks[-1][own.keys // own.base]
            known &= prefix >= 0
            wanted = prefix * other.base + last
        ranks.append(find_sorted(other.keys, wanted, where=known))
    return ranks


def find_sorted(values: Ints, wanted: Ints, *, where: npt.NDArray[np.bool_] | None = None) -> Ints:
    """Return the index of each wanted value in ascending `values`, or `UNKNOWN`.

    Args:
        values: int64 (G,), ascending, without duplicates.
        wanted: int64 (Q,); ascending ones are found faster, as the search stays in the cache.
        where: bool (Q,), which ones to look for; `None`: all.
    """
    found = np.full(len(wanted), UNKNOWN, np.int64)
    if not len(values):
        return found
    chosen = np.arange(len(wanted)) if where is None else np.flatnonzero(where)
    asked = wanted[chosen]
    at = np.minimum(np.searchsorted(values, asked), len(values) - 1)
    hit = values[at] == asked
    found[chosen[hit]] = at[hit]
    return found


def map_words(source: Mapping[str, int], target: Mapping[str, int]) -> Ints:
    """Return the target's id of each source word, `UNKNOWN` if it has none."""
    return np.fromiter((target.get(word, UNKNOWN) for word in source), np.int64, len(source))
