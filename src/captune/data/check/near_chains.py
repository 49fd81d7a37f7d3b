"""Chains of near images, grown pair by pair, in runs of images that share bits of their hash.

Runs of up to 64 images are compared pair by pair. In longer ones (photographs with a white border,
thousands of blank pages) the bits that still differ are dealt into 8 new bands: two images that
differ in at most 7 bits agree in one of them, so the search continues in shorter runs and finds the
same pairs. Where the runs hardly get shorter (drawings share most bits), all pairs of the run are
compared instead, once. Where at most 7 bits are left, only thumbnails tell images apart. All of
this has a limit, and what is beyond it is counted.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from captune.data.check.fingerprints import Fingerprints

BANDS = 8
_MAX_BITS = BANDS - 1
_MAX_MEAN_DIFFERENCE = 10.0
_MAX_CELL_DIFFERENCE = 40.0
_CHUNK = 512
_SHORT_RUN = 64
"""Runs up to this length are compared by shifting the whole band, without a loop over images."""
_VISITS_PER_IMAGE = 256
_HASHES_PER_VISIT, _THUMBNAILS_PER_VISIT = 128, 4
"""How many pairs of hashes, or of thumbnails, take as long as reading an image's bits again."""
_PAIRS_PER_IMAGE = 16
_FREE_PAIRS = 1_000_000


class Chains:
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
        self.num_compared = 0
        self._is_unsearched = np.zeros(len(bands), bool)
        self._searched: set[int] = set()
        self._visits_left = _VISITS_PER_IMAGE * len(bands)
        self._pairs_left = _PAIRS_PER_IMAGE * len(bands) + _FREE_PAIRS

    @property
    def num_unsearched(self) -> int:
        """Number of images that were compared only with those nearest in brightness."""
        return int(self._is_unsearched.sum())

    def _join_short_runs(self, order: npt.NDArray[np.int64], runs: npt.NDArray[np.int64]) -> None:
        """Join near images of the same run; each image is compared with those shortly after it."""
        for shift in range(1, min(_SHORT_RUN, len(order))):
            together = np.flatnonzero(runs[shift:] == runs[:-shift])
            if not len(together):
                return
            self._join(order[together], order[together + shift])

    def _join_equal(self, run: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Join images of equal hash and thumbnail, and return the first of each."""
        order = run[np.lexsort((run, *self._bands[run].T))]
        is_new = np.append(True, (self._bands[order[1:]] != self._bands[order[:-1]]).any(axis=1))
        lengths = np.diff(np.append(np.flatnonzero(is_new), len(order)))
        is_alone = np.repeat(lengths == 1, lengths)
        firsts: dict[tuple[int, bytes], int] = {}
        hashes = np.cumsum(is_new)
        for start in range(0, len(order), _CHUNK):
            block = np.arange(start, min(start + _CHUNK, len(order)))
            block = block[~is_alone[block]]
            thumbnails = self._thumbnails(order[block])
            for place, thumbnail in zip(block.tolist(), thumbnails, strict=True):
                one = int(order[place])
                first = firsts.setdefault((int(hashes[place]), _digest(thumbnail)), one)
                if first != one:
                    self._unite(first, one)
        kept = np.array(list(firsts.values()), np.int64)
        return np.sort(np.concatenate([order[is_alone], kept]))

    def _search(self, run: npt.NDArray[np.int64]) -> None:
        """Join near images of a run whose members all look different."""
        if len(run) <= _SHORT_RUN:
            self._join_short_runs(run, np.zeros(len(run), np.int64))
            return
        # Other bands lead to the same images.
        name = hash(run.tobytes())
        if name in self._searched:
            return
        self._searched.add(name)
        bits = self._differing_bits(run)
        if len(bits) <= _MAX_BITS:
            self._join_by_thumbnails(run)
            return
        divided = [self._divide(run, bits[band::BANDS]) for band in range(BANDS)]
        # Drawings share most bits: their runs hardly get shorter, and would recur in every band.
        num_pairs = sum(int((np.bincount(runs) ** 2).sum()) for _, runs in divided)
        is_divided = BANDS * num_pairs <= len(run) ** 2
        self._visits_left -= len(run) if is_divided else len(run) ** 2 // (2 * _HASHES_PER_VISIT)
        if self._visits_left < 0:
            self._join_neighbours(run)
        elif is_divided:
            for order, runs in divided:
                for long_run in self._join_short(order, runs):
                    self._search(long_run)
        else:
            self._join_all_pairs(run)

    def _divide(
        self, run: npt.NDArray[np.int64], bits: list[int]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return a run ordered by some bits, and the number of each image's shorter run."""
        values = self._read_bits(run, bits)
        order = np.argsort(values, kind="stable")
        return run[order], np.cumsum(np.diff(values[order], prepend=values[order[0]]) != 0)

    def _join_all_pairs(self, run: npt.NDArray[np.int64]) -> None:
        """Join near images of a run, each compared with all after it that are not in its group."""
        for place in range(len(run) - 1):
            one, others = int(run[place]), run[place + 1 :]
            num_thumbnails = self._join_to(one, others[self._roots(others) != self._root(one)])
            self._visits_left -= num_thumbnails // _THUMBNAILS_PER_VISIT
            if self._visits_left < 0:
                self._join_neighbours(run[place:])
                return

    def join_runs(self, order: npt.NDArray[np.int64], runs: npt.NDArray[np.int64]) -> None:
        """Join near images of the same run.

        Args:
            order: Images, those of a run together.
            runs: Number of each image's run, ascending from 0.
        """
        for run in self._join_short(order, runs):
            self._search(self._join_equal(run))

    def _join_short(
        self, order: npt.NDArray[np.int64], runs: npt.NDArray[np.int64]
    ) -> list[npt.NDArray[np.int64]]:
        """Join near images of short runs, and return the long ones."""
        lengths = np.bincount(runs)
        is_short = lengths[runs] <= _SHORT_RUN
        self._join_short_runs(order[is_short], runs[is_short])
        starts = np.append(0, np.cumsum(lengths))
        return [
            np.sort(order[starts[run] : starts[run + 1]])
            for run in np.flatnonzero(lengths > _SHORT_RUN)
        ]

    def _differing_bits(self, run: npt.NDArray[np.int64]) -> list[int]:
        """Return the bits that differ within a run, those that divide it best first."""
        shares = []
        for bit in range(self._bands.shape[1] * 64):
            number = int(self._read_bits(run, [bit]).sum())
            shares.append((min(number, len(run) - number), -bit))
        return [-bit for number, bit in sorted(shares, reverse=True) if number]

    def _read_bits(self, run: npt.NDArray[np.int64], bits: list[int]) -> npt.NDArray[np.int64]:
        """Return some bits of each hash as a number."""
        values = np.zeros(len(run), np.int64)
        for bit in bits:
            values = values * 2 + (self._bands[run, bit // 64] >> np.uint64(bit % 64) & 1)
        return values

    def _join_by_thumbnails(self, run: npt.NDArray[np.int64]) -> None:
        """Join near images of a run in which all hashes are near."""
        rest = run
        while len(rest):
            added, rest = rest[:1], rest[1:]
            while len(added) and len(rest):
                self._pairs_left -= len(added) * len(rest)
                if self._pairs_left < 0:
                    self._join_neighbours(np.concatenate([added, rest]))
                    return
                one = int(added[0])
                for few in added if len(added) < len(rest) else rest:
                    self._join_to(int(few), rest if len(added) < len(rest) else added)
                is_joined = self._roots(rest) == self._root(one)
                added, rest = rest[is_joined], rest[~is_joined]

    def _join_to(self, one: int, others: npt.NDArray[np.int64]) -> int:
        return self._join(np.broadcast_to(one, others.shape), others)

    def _join_neighbours(self, run: npt.NDArray[np.int64]) -> None:
        """Join near images among those that follow each other by brightness."""
        self._is_unsearched[run] = True
        levels = np.concatenate(
            [
                self._thumbnails(run[start : start + _CHUNK]).mean(axis=(1, 2, 3))
                for start in range(0, len(run), _CHUNK)
            ]
        )
        self._join_short_runs(run[np.argsort(levels, kind="stable")], np.zeros(len(run), np.int64))

    def groups(self) -> list[npt.NDArray[np.int64]]:
        """Return the groups of two or more, in order of their first image."""
        labels = self._roots(np.arange(len(self._parents)))
        order = np.argsort(labels, kind="stable")
        edges = np.flatnonzero(np.diff(labels[order])) + 1
        return [group for group in np.split(order, edges) if len(group) > 1]

    def _join(self, ones: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> int:
        """Join the pairs that are near; return how many pairs of thumbnails were compared."""
        num_thumbnails = 0
        self.num_compared += len(ones)
        distance = np.bitwise_count(self._bands[ones] ^ self._bands[others]).sum(axis=1)
        close = np.flatnonzero(distance <= _MAX_BITS)
        for start in range(0, len(close), _CHUNK):
            block = close[start : start + _CHUNK]
            # Members of one group are not compared again.
            block = block[self._roots(ones[block]) != self._roots(others[block])]
            if not len(block):
                continue
            num_thumbnails += len(block)
            near = are_near(self._thumbnails(ones[block]), self._thumbnails(others[block]))
            pairs = zip(ones[block[near]].tolist(), others[block[near]].tolist(), strict=True)
            for one, other in pairs:
                self._unite(one, other)
        return num_thumbnails

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


def _digest(thumbnail: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(thumbnail.tobytes(), digest_size=16).digest()


def are_near(
    thumbnails: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return whether the thumbnails of each pair (n, 16, 16, 3) show the same picture."""
    difference = others.astype(np.float32) - thumbnails
    # A change of brightness or tint does not make another picture.
    shift = difference.mean(axis=(1, 2), keepdims=True)
    rest = np.abs(difference - np.clip(shift, -_MAX_CELL_DIFFERENCE, _MAX_CELL_DIFFERENCE))
    near: npt.NDArray[np.bool_] = (rest.mean(axis=(1, 2, 3)) <= _MAX_MEAN_DIFFERENCE) & (
        rest.max(axis=(1, 2, 3)) <= _MAX_CELL_DIFFERENCE
    )
    return near
