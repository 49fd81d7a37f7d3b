"""Equal and nearly equal images, found by hash in time proportional to the number of images.

The exact hash covers the decoded pixels, so it finds copies with other metadata or in another
lossless format. The near hash is a difference hash (Krawetz 2013, "Kind of Like That") of 128 bits,
64 along rows and 64 along columns. Two hashes that differ in at most 7 bits agree in at least one
of 8 bands of 16 bits, so only images that share a band are compared; a 16x16 thumbnail then
decides, because flat drawings may have equal hashes but different colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from captune.data.check.fingerprints import Fingerprint, Fingerprints, stack_fingerprints

_BANDS = 8
_MAX_BITS = _BANDS - 1
_MAX_MEAN_DIFFERENCE = 10.0
_MAX_CELL_DIFFERENCE = 40.0
_CHUNK = 512
_SHORT_RUN = 64
"""Runs up to this length are compared by shifting the whole band, without a loop over images."""


def group_exact(prints: Fingerprints | Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints with equal pixels."""
    order, edges = _sort_by_pixels(_as_columns(prints))
    groups = [order[start:end].tolist() for start, end in edges if end - start > 1]
    return sorted(groups)


def group_near(prints: Fingerprints | Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints that are nearly equal.

    A chain of near images is one group. Of exactly equal images only the first is compared.
    """
    columns = _as_columns(prints)
    order, edges = _sort_by_pixels(columns)
    places = np.sort(order[[start for start, _ in edges]])
    if len(places) < 2:
        return []
    bands = columns.bands[places]
    chains = _Chains(bands.view(np.uint64), columns, places)
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        runs = np.cumsum(np.diff(bands[order, band], prepend=bands[order[0], band]) != 0)
        lengths = np.bincount(runs)
        is_short = lengths[runs] <= _SHORT_RUN
        chains.join_short_runs(order[is_short], runs[is_short])
        starts = np.append(0, np.cumsum(lengths))
        for run in np.flatnonzero(lengths > _SHORT_RUN):
            chains.join_long_run(order[starts[run] : starts[run + 1]])
    return [places[group].tolist() for group in chains.groups()]


def _as_columns(prints: Fingerprints | Sequence[Fingerprint]) -> Fingerprints:
    return prints if isinstance(prints, Fingerprints) else stack_fingerprints(prints)


def _sort_by_pixels(
    prints: Fingerprints,
) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
    """Return the positions ordered by pixels, and start and end of each run of equal ones."""
    if not len(prints):
        return np.zeros(0, np.int64), []
    words = prints.pixels.view(np.uint64)
    # Stable: the positions in a run ascend.
    order = np.lexsort(words.T)
    changes = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    edges = [0, *(np.flatnonzero(changes) + 1).tolist(), len(order)]
    return order, list(pairwise(edges))


class _Chains:
    """Groups of near images, grown pair by pair; a group is named by its smallest position.

    Args:
        bands: Difference hashes, uint64 (N, 2).
        prints: All fingerprints, for their thumbnails.
        places: Position in `prints` of each of the N images.
    """

    def __init__(
        self,
        bands: npt.NDArray[np.uint64],
        prints: Fingerprints,
        places: npt.NDArray[np.int64],
    ) -> None:
        self._bands, self._prints, self._places = bands, prints, places
        self._parents = np.arange(len(bands))

    def join_short_runs(self, order: npt.NDArray[np.int64], runs: npt.NDArray[np.int64]) -> None:
        """Join near images of the same run; each image is compared with those shortly after it."""
        for shift in range(1, min(_SHORT_RUN, len(order))):
            together = np.flatnonzero(runs[shift:] == runs[:-shift])
            if not len(together):
                return
            self._join(order[together], order[together + shift])

    def join_long_run(self, run: npt.NDArray[np.int64]) -> None:
        """Join near images of one run, image by image."""
        for place in range(len(run) - 1):
            others = run[place + 1 :]
            # Most of thousands of blank pages are in one group after the first of them.
            others = others[self._roots(others) != self._root(int(run[place]))]
            if len(others):
                self._join(np.broadcast_to(run[place], others.shape), others)

    def groups(self) -> list[npt.NDArray[np.int64]]:
        """Return the groups of two or more, in order of their first image."""
        labels = self._roots(np.arange(len(self._parents)))
        order = np.argsort(labels, kind="stable")
        edges = np.flatnonzero(np.diff(labels[order])) + 1
        return [group for group in np.split(order, edges) if len(group) > 1]

    def _join(self, ones: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> None:
        """Join the pairs that are near."""
        distance = np.bitwise_count(self._bands[ones] ^ self._bands[others]).sum(axis=1)
        close = np.flatnonzero(distance <= _MAX_BITS)
        for start in range(0, len(close), _CHUNK):
            block = close[start : start + _CHUNK]
            # Members of one group are not compared again.
            block = block[self._roots(ones[block]) != self._roots(others[block])]
            if not len(block):
                continue
            near = _are_near(self._thumbnails(ones[block]), self._thumbnails(others[block]))
            pairs = zip(ones[block[near]].tolist(), others[block[near]].tolist(), strict=True)
            for one, other in pairs:
                self._unite(one, other)

    def _thumbnails(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return self._prints.read_thumbnails(self._places[places])

    def _unite(self, one: int, other: int) -> None:
        first, second = self._root(one), self._root(other)
        self._parents[max(first, second)] = min(first, second)

    def _root(self, place: int) -> int:
        parents = self._parents
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = int(parents[place])
        return place

    def _roots(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        roots = self._parents[places]
        while (above := self._parents[roots] != roots).any():
            roots[above] = self._parents[roots[above]]
        return roots


def _are_near(
    thumbnails: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    difference = others.astype(np.float32) - thumbnails
    # A change of brightness or tint does not make another picture.
    shift = difference.mean(axis=(1, 2), keepdims=True)
    rest = np.abs(difference - np.clip(shift, -_MAX_CELL_DIFFERENCE, _MAX_CELL_DIFFERENCE))
    near: npt.NDArray[np.bool_] = (rest.mean(axis=(1, 2, 3)) <= _MAX_MEAN_DIFFERENCE) & (
        rest.max(axis=(1, 2, 3)) <= _MAX_CELL_DIFFERENCE
    )
    return near
