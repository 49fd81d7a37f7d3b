"""Near images among many that share bits of their hash: the same pairs, without comparing all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from captune.data import LoadedData, check_data, decode_image, make_shapes
from captune.data.check import near_chains
from captune.data.check.duplicates import find_near, group_near
from captune.data.check.fingerprints import Fingerprints, fingerprint_row
from captune.records import CaptionRecord


def prints_of(hashes: np.ndarray, thumbnails: np.ndarray) -> Fingerprints:
    """Fingerprints with different pixels."""
    count = len(hashes)
    return Fingerprints(
        pixels=np.arange(count * 4, dtype=np.uint64).reshape(count, 4).view(np.uint8),
        bands=np.packbits(hashes, axis=1).view(np.uint16),
        widths=np.full(count, 64, np.uint32),
        heights=np.full(count, 48, np.uint32),
        thumbnails=thumbnails,
        rows=np.arange(count),
    )


def flat(levels: np.ndarray) -> np.ndarray:
    """Thumbnails of one grey each."""
    return np.broadcast_to(levels.astype(np.uint8)[:, None, None, None], (len(levels), 16, 16, 3))


def slow_groups(prints: Fingerprints) -> list[list[int]]:
    """Compare all pairs."""
    bits = np.unpackbits(prints.bands.view(np.uint8), axis=1).astype(np.int32)
    distance = (bits[:, None] != bits[None]).sum(axis=2)
    group = np.arange(len(prints))
    for one, other in zip(*np.nonzero(np.triu(distance <= 7, 1)), strict=True):
        both = prints.thumbnails[[one, other]]
        if near_chains.are_near(both[:1], both[1:])[0]:
            group[group == group[other]] = group[one]
    members = [np.flatnonzero(group == name).tolist() for name in np.unique(group)]
    return sorted(each for each in members if len(each) > 1)


def bordered(rng: np.random.Generator, count: int, fixed: int) -> np.ndarray:
    """Hashes (count, 128) whose first bits are equal, some copied with up to 8 bits changed."""
    hashes = rng.integers(2, size=(count, 128), dtype=np.uint8)
    hashes[:, :fixed] = 0
    for copy in range(0, count, 5):
        hashes[copy] = hashes[rng.integers(count)]
        changed = rng.choice(np.arange(fixed, 128), min(128 - fixed, copy % 9), replace=False)
        hashes[copy, changed] ^= 1
    return hashes


@pytest.mark.parametrize("fixed", [16, 40, 96, 118])
def test_images_with_the_same_border_are_near_if_comparing_all_pairs_finds_them(fixed):
    rng = np.random.default_rng(fixed)
    hashes = bordered(rng, 180, fixed)
    prints = prints_of(hashes, flat(rng.choice([0, 120, 240], len(hashes))))
    found = find_near(prints)
    assert found.groups == slow_groups(prints)
    assert len(found.groups) > 2
    assert found.num_unsearched == 0


@pytest.mark.slow
def test_images_with_the_same_border_are_not_compared_with_all_others():
    rng = np.random.default_rng(1)
    count = 20_000
    found = find_near(prints_of(bordered(rng, count, 40), flat(rng.integers(256, size=count))))
    # All pairs would be 10,000 per image.
    assert found.num_compared < 256 * count


def test_drawings_that_share_most_bits_are_compared_once_per_shared_band(monkeypatch):
    rows = np.concatenate([fingerprint_row(decode_image(one.image)) for one in make_shapes(500)])
    prints = Fingerprints(
        *(rows[name] for name in ("pixels", "bands", "width", "height", "thumbnail")),
        rows=np.arange(len(rows)),
    )
    compared = []

    def count(thumbnails: np.ndarray, others: np.ndarray) -> np.ndarray:
        compared.append(len(thumbnails))
        return are_near(thumbnails, others)

    are_near = near_chains.are_near
    monkeypatch.setattr(near_chains, "are_near", count)
    found = find_near(prints)
    assert found.num_unsearched == 0
    bits = np.unpackbits(prints.bands.view(np.uint8), axis=1).astype(np.int32)
    is_close = np.triu((bits[:, None] != bits[None]).sum(axis=2) <= 7, 1)
    shared = (prints.bands[:, None] == prints.bands[None]).sum(axis=2)
    assert 1000 < sum(compared) <= shared[is_close].sum()


def test_thirty_thousand_white_and_black_pages_are_two_groups():
    levels = np.where(np.arange(30_000) % 3 == 0, 0, 250)
    groups = group_near(prints_of(np.zeros((30_000, 128), np.uint8), flat(levels)))
    assert [len(group) for group in groups] == [10_000, 20_000]


def test_images_beyond_the_limit_of_comparisons_are_counted_and_reported(monkeypatch):
    monkeypatch.setattr(near_chains, "_PAIRS_PER_IMAGE", 0)
    monkeypatch.setattr(near_chains, "_FREE_PAIRS", 100)
    rng = np.random.default_rng(0)
    # Checks of two colours in random cells: equal hashes, and no two are near.
    cells = rng.integers(2, size=(300, 16, 16, 1)).repeat(3, axis=3)
    prints = prints_of(np.zeros((300, 128), np.uint8), (cells * 200).astype(np.uint8))
    found = find_near(prints)
    assert found.groups == []
    assert found.num_unsearched == 300
    monkeypatch.setattr(near_chains, "_FREE_PAIRS", 100_000)
    assert find_near(prints).num_unsearched == 0


def test_a_check_reports_that_near_duplicates_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(near_chains, "_PAIRS_PER_IMAGE", 0)
    monkeypatch.setattr(near_chains, "_FREE_PAIRS", 0)
    records = []
    for number in range(70):
        # No bit of the hash is set, as each grid cell has one mean.
        cells = np.zeros((16, 16, 3), np.uint8)
        cells[..., number % 3] = number
        cells[:2, :2] += np.uint8(number // 3)
        path = tmp_path / f"{number}.png"
        Image.fromarray(cells).save(path)
        records.append(CaptionRecord(path.name, path, ("a page",)))
    notes = check_data(LoadedData(tuple(records))).notes
    assert [note for note in notes if "look so alike" in note]
