"""METEOR's alignment by beam search, for many pairs at once.

A path walks over the reference's words and at each takes one of the matches that start there, or
none. Better is: more matched words, then fewer chunks, then less distance; equal paths keep the
order in which they arose. Three oddities of the jar decide ties and are kept: matches other than
exact ones count half, rounded down match by match; a chosen match's distance is charged to the
path it branched off, so that later branches pay for it; chunks count when they end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor_captions import expand_ranges
from captune.metrics.meteor_match import EXACT, Matches

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]

BEAM = 40


@dataclass(frozen=True, slots=True)
class _Options:
    """The matches as the beam sees them.

    Attributes:
        starts: int64 (pairs * width + 1,): options at a reference word, by `pair * width + word`.
        width: Longest reference + 1.
        fixed: bool (M,): a match that shares no word with any other; every path takes it.
        gain: int64 (M,): matched words on both sides, half of them unless exact.
        mask: uint64 (M, W): the prediction's words, one bit each.
        distance: int64 (M,): how far apart the two sides start.
        first: int64 (M,): first word of the prediction.
        end: int64 (M,): the prediction's word after the match.
        reach: int64 (M,): the reference's word after the match.
    """

    starts: Ints
    width: int
    fixed: Bools
    gain: Ints
    mask: Bits
    distance: Ints
    first: Ints
    end: Ints
    reach: Ints


@dataclass(slots=True)
class _Paths:
    """Live paths, ordered by pair and then by rank.

    Attributes:
        pair: int64 (P,).
        gain: int64 (P,): matched words so far.
        chunks: int64 (P,): chunks that have ended.
        distance: int64 (P,).
        expected: int64 (P,): the prediction word that would continue the open chunk, -1: none.
        free: int64 (P,): first reference word not yet passed.
        used: uint64 (P, W): prediction words taken.
    """

    pair: Ints
    gain: Ints
    chunks: Ints
    distance: Ints
    expected: Ints
    free: Ints
    used: Bits

    @classmethod
    def fresh(cls, pairs: int, width: int) -> _Paths:
        """One path a pair, before the first word."""
        zeros = [np.zeros(pairs, dtype=np.int64) for _ in range(4)]
        return cls(
            pair=np.arange(pairs),
            gain=zeros[0],
            chunks=zeros[1],
            distance=zeros[2],
            expected=np.full(pairs, -1, dtype=np.int64),
            free=zeros[3],
            used=np.zeros((pairs, width), dtype=np.uint64),
        )

    def take(self, places: Ints) -> _Paths:
        """The paths at some places."""
        chosen = self.take_ranked(places)
        chosen.used = self.used[places]
        return chosen

    def take_ranked(self, places: Ints) -> _Paths:
        """The same, with `used` as it is, for paths whose words have been set already."""
        return _Paths(
            pair=self.pair[places],
            gain=self.gain[places],
            chunks=self.chunks[places],
            distance=self.distance[places],
            expected=self.expected[places],
            free=self.free[places],
            used=self.used,
        )


def align(matches: Matches, *, prediction_lengths: Ints, reference_lengths: Ints) -> Ints:
    """Choose the matches of every pair's best alignment.

    Args:
        matches: All matches, sorted by pair and reference word.
        prediction_lengths: int64 (pairs,): words of each pair's prediction.
        reference_lengths: int64 (pairs,): words of each pair's reference.

    Returns:
        Numbers of the chosen matches, sorted.
    """
    width = int(reference_lengths.max(initial=0)) + 1
    options = _prepare(matches, prediction_lengths, width)
    paths = _Paths.fresh(len(reference_lengths), options.mask.shape[1])
    history: list[tuple[Ints, Ints]] = []
    winners = np.zeros(len(reference_lengths), dtype=np.int64)
    for word in range(width):
        ended = reference_lengths[paths.pair] == word
        _crown(paths.take(np.flatnonzero(ended)), np.flatnonzero(ended), winners)
        parents = np.flatnonzero(~ended)
        paths, branch, taken = _advance(paths.take(parents), options, word=word)
        history.append((parents[branch], taken))
    return _trace(history, winners, reference_lengths)


def _prepare(matches: Matches, prediction_lengths: Ints, width: int) -> _Options:
    pairs = len(prediction_lengths)
    keys = matches.pair * width + matches.reference
    starts = np.searchsorted(keys, np.arange(pairs * width + 1))
    exact = matches.matcher == EXACT
    sides = (matches.prediction_length, matches.reference_length)
    return _Options(
        starts=starts,
        width=width,
        fixed=_find_lonely(matches, prediction_lengths, width),
        gain=np.where(exact, sides[0] + sides[1], sides[0] // 2 + sides[1] // 2),
        mask=_make_masks(matches, int(prediction_lengths.max(initial=1))),
        distance=np.abs(matches.prediction - matches.reference),
        first=matches.prediction,
        end=matches.prediction + matches.prediction_length,
        reach=matches.reference + matches.reference_length,
    )


def _find_lonely(matches: Matches, prediction_lengths: Ints, width: int) -> Bools:
    """Matches none of whose words takes part in another match."""
    height = int(prediction_lengths.max(initial=0)) + 1
    lonely = np.ones(len(matches.pair), dtype=np.bool_)
    for first, length, size in (
        (matches.prediction, matches.prediction_length, height),
        (matches.reference, matches.reference_length, width),
    ):
        owner = np.repeat(np.arange(len(first)), length)
        places = matches.pair[owner] * size + expand_ranges(first, length)
        shared = np.bincount(places)[places] > 1
        lonely[owner[shared]] = False
    return lonely


def _make_masks(matches: Matches, longest: int) -> Bits:
    masks = np.zeros((len(matches.pair), max(1, -(-longest // 64))), dtype=np.uint64)
    owner = np.repeat(np.arange(len(matches.pair)), matches.prediction_length)
    words = expand_ranges(matches.prediction, matches.prediction_length)
    bits = np.uint64(1) << (words % 64).astype(np.uint64)
    np.bitwise_or.at(masks, (owner, words // 64), bits)
    return masks


def _advance(paths: _Paths, options: _Options, *, word: int) -> tuple[_Paths, Ints, Ints]:
    """Every path's branches at a reference word, ranked and cut to the beam.

    Returns:
        The new paths, the number of the path each branched off, and the match it took (-1: none).
    """
    passed = paths.free > word
    key = paths.pair * options.width + word
    first = options.starts[key]
    count = np.where(passed, 0, options.starts[key + 1] - first)
    if not count.any():
        return _skip(paths, passed, word)
    forced = (count == 1) & options.fixed[np.minimum(first, len(options.fixed) - 1)]
    total = count + ~forced
    branch = np.repeat(np.arange(len(count)), total)
    place = expand_ranges(np.zeros_like(total), total)
    taken = np.where(place < count[branch], first[branch] + place, -1)
    takes = taken >= 0
    clash = np.zeros(len(taken), dtype=np.bool_)
    clash[takes] = (paths.used[branch[takes]] & options.mask[taken[takes]]).any(axis=1)
    branch, taken, takes = branch[~clash], taken[~clash], takes[~clash]
    return _branch_off(paths, options, branch=branch, taken=taken, forced=forced, word=word)


def _skip(paths: _Paths, passed: Bools, word: int) -> tuple[_Paths, Ints, Ints]:
    """The step at a word where no path has a match to take."""
    closing = ~passed & (paths.expected >= 0)
    paths.chunks = paths.chunks + closing
    paths.expected = np.where(passed, paths.expected, -1)
    paths.free = np.where(passed, paths.free, word + 1)
    order = _rank(paths) if closing.any() else np.arange(len(passed))
    return paths.take(order), order, np.full(len(order), -1, dtype=np.int64)


def _branch_off(
    paths: _Paths, options: _Options, *, branch: Ints, taken: Ints, forced: Bools, word: int
) -> tuple[_Paths, Ints, Ints]:
    takes = taken >= 0
    match = np.maximum(taken, 0)
    passed = (paths.free > word)[branch]
    cost = np.where(takes, options.distance[match], 0)
    # The jar's oddity: a match is paid for by the branches after it, a forced one by itself.
    sums = np.cumsum(cost)
    opening = np.r_[True, branch[1:] != branch[:-1]]
    before = np.repeat(
        (sums - cost)[opening], np.diff(np.append(np.flatnonzero(opening), len(cost)))
    )
    paid = sums - before - np.where(forced[branch], 0, cost)
    expected = paths.expected[branch]
    closing = (expected >= 0) & ~passed & ~(takes & (expected == options.first[match]))
    children = _Paths(
        pair=paths.pair[branch],
        gain=paths.gain[branch] + np.where(takes, options.gain[match], 0),
        chunks=paths.chunks[branch] + closing,
        distance=paths.distance[branch] + paid,
        expected=np.where(takes, options.end[match], np.where(passed, expected, -1)),
        free=np.where(takes, options.reach[match], np.maximum(paths.free[branch], word + 1)),
        used=paths.used,
    )
    order = _rank(children)
    branch, taken = branch[order], taken[order]
    children.used = paths.used[branch]
    takes = taken >= 0
    children.used[takes] |= options.mask[taken[takes]]
    return children.take_ranked(order), branch, taken


def _rank(paths: _Paths) -> Ints:
    """The order of paths within their pairs, best first, cut to the beam."""
    order = _sort(paths)
    pair = paths.pair[order]
    opening = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]])
    rank = np.arange(len(pair)) - np.repeat(opening, np.diff(np.append(opening, len(pair))))
    return order[rank < BEAM]


def _sort(paths: _Paths) -> Ints:
    gains, chunks, distances = (
        int(values.max(initial=0)) + 1 for values in (paths.gain, paths.chunks, paths.distance)
    )
    pairs = int(paths.pair.max(initial=0)) + 1
    if pairs * gains * chunks * distances >= 1 << 62:
        return np.lexsort((paths.distance, paths.chunks, -paths.gain, paths.pair))
    # One number a path sorts four times faster than four numbers.
    key = paths.pair * gains + (gains - 1 - paths.gain)
    key = (key * chunks + paths.chunks) * distances + paths.distance
    return np.argsort(key, kind="stable")


def _crown(ended: _Paths, places: Ints, winners: Ints) -> None:
    """Note the best path of every pair whose reference has been read."""
    ended.chunks = ended.chunks + (ended.expected >= 0)
    order = _sort(ended)
    pair = ended.pair[order]
    best = order[np.r_[True, pair[1:] != pair[:-1]]] if len(pair) else order
    winners[ended.pair[best]] = places[best]


def _trace(history: list[tuple[Ints, Ints]], winners: Ints, lengths: Ints) -> Ints:
    """The matches that the winning paths took."""
    place = winners.copy()
    chosen: list[Ints] = []
    for word in range(len(history) - 1, -1, -1):
        parents, taken = history[word]
        active = np.flatnonzero(lengths > word)
        here = taken[place[active]]
        chosen.append(here[here >= 0])
        place[active] = parents[place[active]]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
