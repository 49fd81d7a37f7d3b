"""Cached features depend on the images' bytes, and rows damaged on disk are encoded again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from captune.errors import OutputError
from captune.training.batches.feature_file import create_file, damaged_rows
from captune.training.batches.features import build_feature_cache, cache_key
from captune.training.team import Team


@pytest.fixture
def build(tmp_path: Path, make_recipe) -> Callable[[], tuple[np.ndarray, list[tuple[int, int]]]]:
    """Return a function that builds the cache of 5 images: its rows, and the encoded pairs."""

    def build() -> tuple[np.ndarray, list[tuple[int, int]]]:
        encoded: list[tuple[int, int]] = []

        def encode(pairs: Sequence[tuple[int, int]]):
            for start in range(0, len(pairs), 2):
                batch = pairs[start : start + 2]
                encoded.extend(batch)
                yield torch.tensor([[image + 1.0, view + 1.0] for image, view in batch])

        cache = build_feature_cache(
            encode, num_images=5, num_views=2, file=tmp_path / "x.npy", team=Team()
        )
        return np.array(cache.array), encoded

    return build


EXPECTED = [[image + 1.0, view + 1.0] for image in range(5) for view in range(2)]


@pytest.mark.parametrize("byte", [0, 7, 19, 39])
def test_only_the_damaged_row_is_encoded_again(tmp_path: Path, build, byte: int) -> None:
    rows, encoded = build()
    assert (rows.tolist(), len(encoded)) == (EXPECTED, 10)
    path = tmp_path / "x.npy"
    content = bytearray(path.read_bytes())
    place = len(content) - 40 - 40 + byte  # ten rows of four bytes, then ten checksums
    content[place] ^= 1
    path.write_bytes(content)
    rows, encoded = build()
    assert rows.tolist() == EXPECTED
    assert encoded == [(byte // 4 // 2, byte // 4 % 2)]
    assert build()[1] == []


def test_rows_of_zeros_left_by_a_power_cut_are_encoded_again(tmp_path: Path, build) -> None:
    build()
    path = tmp_path / "x.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-80] + bytes(80))
    rows, encoded = build()
    assert rows.tolist() == EXPECTED
    assert len(encoded) == 10


@pytest.mark.parametrize("cut", [1, 4, 44, 90, 10_000])
def test_a_truncated_file_is_written_again(tmp_path: Path, build, cut: int) -> None:
    build()
    path = tmp_path / "x.npy"
    path.write_bytes(path.read_bytes()[:-cut])
    rows, encoded = build()
    assert rows.tolist() == EXPECTED
    assert len(encoded) == 10


def test_a_file_without_checksums_is_unusable(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float16))
    assert damaged_rows(tmp_path / "x.npy", 3, rows=range(3)) is None
    assert damaged_rows(tmp_path / "absent.npy", 3, rows=range(3)) is None


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no allocation of disk space")
def test_a_full_disk_is_an_error_and_not_a_signal(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write") as error:
        create_file(tmp_path / "x.npy", (1 << 20, 1 << 22))
    assert "free some disk space" in error.value.fix
    assert list(tmp_path.iterdir()) == []


def test_the_key_depends_on_the_bytes_of_an_image_and_not_on_its_name_or_date(
    tmp_path: Path, shapes, make_recipe, make_captioner
) -> None:
    captioner = make_captioner(make_recipe(model__freeze=["vision"]))
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    first.write_bytes(shapes[0][0].image)
    records = [replace(shapes[0][0], image=first)]

    def key() -> str:
        return cache_key(captioner, records, views=("original",))

    before = key()
    os.utime(first, ns=(1, 1))
    assert key() == before
    first.rename(second)
    records[0] = replace(records[0], image=second)
    assert key() == before
    stat = second.stat()
    content = bytearray(second.read_bytes())
    content[-20] ^= 1
    second.write_bytes(content)
    os.utime(second, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert key() != before, "the same size and date, but another image"
