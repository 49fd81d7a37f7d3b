"""Equal and nearly equal images, found by hash in time proportional to the number of images.

The exact hash covers the decoded pixels, so it finds copies with other metadata or in another
lossless format. The near hash is a difference hash (Krawetz 2013, "Kind of Like That") of 128 bits,
64 along rows and 64 along columns. Two hashes that differ in at most 7 bits agree in at least one
of 8 bands of 16 bits, so only images that share a band are compared; a 16x16 thumbnail then
decides, because flat drawings may have equal hashes but different colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from captune.data.check.fingerprints import Fingerprint, Fingerprints, stack_fingerprints
from captune.data.check.near_chains import BANDS, Chains


@dataclass(frozen=True, slots=True)
class NearImages:
    """Images that look the same.

    Attributes:
        groups: Groups of two or more positions.
        num_unsearched: Images that look so alike that each was compared only with the 63 that
            follow it by brightness.
        num_compared: Pairs of images whose hashes were compared.
    """

    groups: list[list[int]]
    num_unsearched: int = 0
    num_compared: int = 0


def group_exact(prints: Fingerprints | Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints with equal pixels."""
    order, edges = _sort_by_pixels(_as_columns(prints))
    groups = [order[start:end].tolist() for start, end in edges if end - start > 1]
    return sorted(groups)


def group_near(prints: Fingerprints | Sequence[Fingerprint]) -> list[list[int]]:
    """Return groups of two or more positions of fingerprints that are nearly equal."""
    return find_near(prints).groups


def find_near(prints: Fingerprints | Sequence[Fingerprint]) -> NearImages:
    """Find groups of nearly equal fingerprints.

    A chain of near images is one group. Of exactly equal images only the first is compared.
    """
    columns = _as_columns(prints)
    order, edges = _sort_by_pixels(columns)
    places = np.sort(order[[start for start, _ in edges]])
    if len(places) < 2:
        return NearImages([])
    bands = columns.bands[places]
    chains = Chains(bands.view(np.uint64), columns, places)
    for band in range(BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        runs = np.cumsum(np.diff(bands[order, band], prepend=bands[order[0], band]) != 0)
        chains.join_runs(order, runs)
    groups = [places[group].tolist() for group in chains.groups()]
    return NearImages(groups, chains.num_unsearched, chains.num_compared)


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
