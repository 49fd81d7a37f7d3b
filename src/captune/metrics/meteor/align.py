"""METEOR's alignment by beam search, for many pairs at once.

A path walks over the reference's words and at each word takes one of the matches that start there,
or none. Paths with more matched words are better, then those with fewer chunks, then those with
less distance; equal paths keep the order in which they were created. Three oddities of the jar
decide ties and are reproduced: matches other than exact ones count half, rounded down for each
match; a chosen match's distance is charged to the path it branched off, so that later branches pay
for it; chunks are counted when they end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from captune.metrics.meteor.captions import expand_ranges
from captune.metrics.meteor.match import EXACT, Matches

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bits = npt.NDArray[np.uint64]
Keys = npt.NDArray[Any]

BEAM = 40
MAX_KEY = 1 << 62
"""Keys below this fit a machine integer; larger ones, of huge captions, are Python integers."""


@dataclass(frozen=True, slots=True)
class _Options:
    """The options of a path at a reference word: take a match, or skip the word (the last option).

    Attributes:
        pair: int64 (M,): the pair of each match.
        order: int64 (M,): the matches by reference word.
        bounds: int64 (words + 1,): those at word w are `order[bounds[w]:bounds[w + 1]]`.
        forced: bool (M,): a match that shares no word with any other; every path uses it.
        key: (M + 1,): the number added to a path's key.
        cost: int64 (M + 1,): distance cost of the branches after it.
        first: int64 (M + 1,): the prediction's first word.
        end: int64 (M + 1,): the prediction's word that would continue the chunk, -1: none.
        reach: int64 (M + 1,): the reference's word after the match.
        masks: uint64 (M + 1,) for each 64 words: the prediction's words, one bit each.
        chunk: The number that an ended chunk adds to a path's key.
    """

    pair: Ints
    order: Ints
    bounds: Ints
    forced: Bools
    key: Keys
    cost: Ints
    first: Ints
    end: Ints
    reach: Ints
    masks: tuple[Bits, ...]
    chunk: int


@dataclass(frozen=True, slots=True)
class _Paths:
    """Live paths, ordered by pair and then by rank.

    Attributes:
        pair: int64 (P,).
        key: (P,): pair, matched words, ended chunks and distance in one number; low is good. It
            sorts four times faster than four numbers.
        expected: int64 (P,): the prediction word that would continue the open chunk, -1: none.
        free: int64 (P,): first reference word after the last match.
        used: uint64 (P,) for each 64 words: matched prediction words.
    """

    pair: Ints
    key: Keys
    expected: Ints
    free: Ints
    used: tuple[Bits, ...]

    def take(self, places: Ints) -> _Paths:
        """Return the paths at some indices."""
        return _Paths(
            pair=self.pair[places],
            key=self.key[places],
            expected=self.expected[places],
            free=self.free[places],
            used=tuple(column[places] for column in self.used),
        )


def align(matches: Matches, *, prediction_lengths: Ints, reference_lengths: Ints) -> Ints:
    """Return the matches of every pair's best alignment.

    Args:
        matches: All matches, sorted by pair and reference word.
        prediction_lengths: int64 (pairs,): words of each pair's prediction.
        reference_lengths: int64 (pairs,): words of each pair's reference.

    Returns:
        Numbers of the chosen matches, sorted.
    """
    width = int(reference_lengths.max(initial=0)) + 1
    height = int(prediction_lengths.max(initial=0)) + 1
    paths, options = _prepare(matches, len(reference_lengths), shape=(height, width))
    history: list[tuple[Ints, Ints]] = []
    winners = np.zeros(len(reference_lengths), dtype=np.int64)
    for word in range(width):
        has_ended = reference_lengths[paths.pair] == word
        ended, parents = np.flatnonzero(has_ended), np.flatnonzero(~has_ended)
        best = _find_best(paths.take(ended), options)
        winners[paths.pair[ended[best]]] = ended[best]
        paths, branch, taken = _advance(paths.take(parents), options, word)
        history.append((parents[branch], taken))
    return _trace(history, winners, reference_lengths)


def _prepare(matches: Matches, pairs: int, *, shape: tuple[int, int]) -> tuple[_Paths, _Options]:
    """Return one path per pair, before its first word, and the options of all paths."""
    sides = (matches.prediction_length, matches.reference_length)
    exact = matches.matcher == EXACT
    gain = np.where(exact, sides[0] + sides[1], sides[0] // 2 + sides[1] // 2)
    distance = np.abs(matches.prediction - matches.reference)
    # No path can have more than all matches of its pair.
    gains, chunks, distances = (
        1 + int(np.bincount(matches.pair, weights).max(initial=0))
        for weights in (gain, None, distance)
    )
    number = np.int64 if pairs * gains * chunks * distances < MAX_KEY else np.object_
    word = chunks * distances
    forced = _find_lonely(matches, shape)
    key: Keys = gain.astype(number) * -word
    key += np.where(forced, distance, 0)
    order = np.argsort(matches.reference, kind="stable")
    options = _Options(
        pair=matches.pair,
        order=order,
        bounds=np.searchsorted(matches.reference[order], np.arange(shape[1] + 1)),
        forced=forced,
        key=np.append(key, 0),
        cost=np.append(np.where(forced, 0, distance), 0),
        first=np.append(matches.prediction, -2),
        end=np.append(matches.prediction + sides[0], -1),
        reach=np.append(matches.reference + sides[1], 0),
        masks=_make_masks(matches, shape[0]),
        chunk=distances,
    )
    numbers = np.arange(pairs)
    paths = _Paths(
        pair=numbers,
        key=(numbers.astype(number) * gains + (gains - 1)) * word,
        expected=np.full(pairs, -1, dtype=np.int64),
        free=np.zeros(pairs, dtype=np.int64),
        used=tuple(np.zeros(pairs, dtype=np.uint64) for _ in options.masks),
    )
    return paths, options


def _find_lonely(matches: Matches, shape: tuple[int, int]) -> Bools:
    """Return whether each match shares no word with another match."""
    lonely = np.ones(len(matches.pair), dtype=np.bool_)
    for first, length, size in (
        (matches.prediction, matches.prediction_length, shape[0]),
        (matches.reference, matches.reference_length, shape[1]),
    ):
        owner = np.repeat(np.arange(len(first)), length)
        places = matches.pair[owner] * size + expand_ranges(first, length)
        shared = np.bincount(places)[places] > 1
        lonely[owner[shared]] = False
    return lonely


def _make_masks(matches: Matches, words: int) -> tuple[Bits, ...]:
    masks = np.zeros((-(-words // 64), len(matches.pair) + 1), dtype=np.uint64)
    owner = np.repeat(np.arange(len(matches.pair)), matches.prediction_length)
    place = expand_ranges(matches.prediction, matches.prediction_length)
    bits = np.uint64(1) << (place % 64).astype(np.uint64)
    np.bitwise_or.at(masks, (place // 64, owner), bits)
    return tuple(masks)


def _advance(paths: _Paths, options: _Options, word: int) -> tuple[_Paths, Ints, Ints]:
    """Branch every path at a reference word; rank the branches and keep the best of each beam.

    Returns:
        The new paths, the index of the path that each branched off, and the match that it took
        (-1: none).
    """
    branch, taken = _branch_off(paths, options, word)
    passed = paths.free > word
    key = paths.key[branch] + options.key[taken] + _charge(branch, options.cost[taken])
    expected = paths.expected[branch]
    closing = (expected >= 0) & (expected != options.first[taken]) & ~passed[branch]
    key[closing] += options.chunk
    order = _rank(key, paths.pair[branch])
    branch, taken = branch[order], taken[order]
    children = _Paths(
        pair=paths.pair[branch],
        key=key[order],
        expected=options.end[taken],
        free=options.reach[taken],
        used=tuple(
            used[branch] | mask[taken] for used, mask in zip(paths.used, options.masks, strict=True)
        ),
    )
    # Inside a match of several words nothing changes.
    inside = np.flatnonzero(passed[branch])
    children.expected[inside] = paths.expected[branch[inside]]
    children.free[inside] = paths.free[branch[inside]]
    return children, branch, np.where(taken < len(options.pair), taken, -1)


def _branch_off(paths: _Paths, options: _Options, word: int) -> tuple[Ints, Ints]:
    """Return path and option of each branch, by path and then in METEOR's order."""
    here = options.order[options.bounds[word] : options.bounds[word + 1]]
    pairs = int(paths.pair.max(initial=-1)) + 1
    pair = options.pair[here]
    # Pairs that have ended have no matches, so `here` fits.
    count = np.bincount(pair, minlength=pairs)
    first = np.zeros_like(count)
    first[pair[::-1]] = here[::-1]
    may_skip = np.ones(len(count), dtype=np.bool_)
    may_skip[pair[options.forced[here]]] = False
    passed = paths.free > word
    skips = may_skip[paths.pair] | passed
    counts = np.where(passed, 0, count[paths.pair]) + skips
    branch = np.repeat(np.arange(len(counts)), counts)
    taken = expand_ranges(first[paths.pair], counts)
    skip = len(options.pair)
    taken[np.cumsum(counts)[skips] - 1] = skip
    clash = np.zeros(len(taken), dtype=np.bool_)
    for used, mask in zip(paths.used, options.masks, strict=True):
        clash |= (used[branch] & mask[taken]) > 0
    kept = np.flatnonzero(~clash)
    return branch[kept], taken[kept]


def _charge(branch: Ints, cost: Ints) -> Ints:
    """Return each branch's cost: the sum over the branches before it on the same path."""
    before = np.cumsum(cost) - cost
    opening = np.ones(len(branch), dtype=np.bool_)
    np.not_equal(branch[1:], branch[:-1], out=opening[1:])
    # Every path has a branch, so these are numbered like the paths.
    return before - before[opening][branch]


def _rank(key: Keys, pair: Ints) -> Ints:
    """Return the order of the paths within their pairs, best first, without those off the beam."""
    order = np.argsort(key, kind="stable")
    counts = np.bincount(pair)
    if counts.max(initial=0) <= BEAM:
        return order
    # In both orders, the pairs are consecutive.
    rank = np.arange(len(pair)) - (np.cumsum(counts) - counts)[pair]
    return order[rank < BEAM]


def _find_best(ended: _Paths, options: _Options) -> Ints:
    """Return the place of each pair's best path after its reference has been read."""
    key = ended.key + np.where(ended.expected >= 0, options.chunk, 0)
    order = np.argsort(key, kind="stable")
    pair = ended.pair[order]
    opening = np.ones(len(pair), dtype=np.bool_)
    np.not_equal(pair[1:], pair[:-1], out=opening[1:])
    return order[opening]


def _trace(history: list[tuple[Ints, Ints]], winners: Ints, lengths: Ints) -> Ints:
    """Return the matches of the winning paths."""
    place = winners.copy()
    chosen: list[Ints] = []
    for word in range(len(history) - 1, -1, -1):
        parents, taken = history[word]
        active = np.flatnonzero(lengths > word)
        here = taken[place[active]]
        chosen.append(here[here >= 0])
        place[active] = parents[place[active]]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
