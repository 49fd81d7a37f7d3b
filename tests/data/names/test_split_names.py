"""Splits from the names of files and folders."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from captune.data import load_records
from captune.data.names.split_names import name_splits

WANTED = [("0.png", "train"), ("1.png", "val"), ("2.png", "test")]


def write_csv(path: Path, name: str) -> None:
    path.with_suffix(".csv").write_text(f"image,caption\n{name},One\n")


def write_tsv(path: Path, name: str) -> None:
    path.with_suffix(".tsv").write_text(f"{name}\tOne dog\n")


def write_jsonl(path: Path, name: str) -> None:
    path.with_suffix(".jsonl").write_text(json.dumps({"image": name, "caption": "One"}))


def write_json(path: Path, name: str) -> None:
    path.with_suffix(".json").write_text(json.dumps([{"image": name, "caption": "One"}]))


def write_parquet(path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [name], "caption": ["One"], "image_id": [name]})
    pq.write_table(table, path.with_suffix(".parquet"))


WRITERS = (write_csv, write_tsv, write_jsonl, write_json, write_parquet)


@pytest.fixture
def images(tmp_path, draw_image) -> Path:
    for number in range(3):
        draw_image(tmp_path / "images" / f"{number}.png", (number, 0, 0))
    return tmp_path


def splits_of(data) -> list[tuple[str, str | None]]:
    return sorted((record.file_name, record.split) for record in data.records)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize(
    "form", ["captions_{}", "{}", "my-{}-2017", "fooCaptions{}", "{}set", "my_{}data", "{}captions"]
)
def test_a_split_inside_every_name_counts(images, write, form):
    for (name, _), word in zip(WANTED, ("train", "validation", "test"), strict=True):
        write(images / form.format(word.title() if form.startswith("foo") else word), name)
    assert splits_of(load_records(images)) == WANTED


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_split_inside_some_names_only_does_not_count_and_is_reported(images, write):
    for name, stem in (("0.png", "captions_train"), ("1.png", "captions_more")):
        write(images / stem, name)
    data = load_records(images)
    assert splits_of(data) == [("0.png", None), ("1.png", None)]
    assert any("captions_more" in note and "does not" in note for note in data.notes)


@pytest.mark.parametrize("write", WRITERS[:-1], ids=lambda write: write.__name__)
def test_folders_named_after_splits_are_splits(images, write):
    for name, split in WANTED:
        (images / split).mkdir()
        shutil.move(images / "images" / name, images / split / name)
        write(images / split / "captions", name)
    (images / "images").rmdir()
    found = [(f"{split}/{name}", split) for name, split in WANTED]
    assert splits_of(load_records(images)) == sorted(found)


def test_parquet_in_folders_named_after_splits_has_their_splits(images):
    for name, split in WANTED:
        (images / split).mkdir()
        write_parquet(images / split / "0000", name)
    assert splits_of(load_records(images)) == WANTED


def test_shards_with_a_split_inside_their_names_are_splits(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("One")
    for number, split in enumerate(("train", "val", "test")):
        with tarfile.open(tmp_path / f"cc_{split}_000.tar", "w") as archive:
            archive.add(tmp_path / "a.png", f"{number}.png")
            archive.add(tmp_path / "a.txt", f"{number}.txt")
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.txt").unlink()
    data = load_records(tmp_path)
    assert [(r.image_id, r.split) for r in data.records] == [
        ("2", "test"),
        ("0", "train"),
        ("1", "val"),
    ]


def test_a_name_with_two_splits_names_none():
    names = [PurePosixPath("train_val.csv"), PurePosixPath("test_a.csv")]
    notes: list[str] = []
    assert name_splits(names, root=PurePosixPath(), notes=notes) == [None, None]
    assert notes == [
        "test_a.csv names a split, but train_val.csv does not: the names of the files are not"
        " used as splits"
    ]


def test_a_word_that_only_contains_a_split_is_not_one():
    names = [PurePosixPath("trains.csv"), PurePosixPath("latest.csv")]
    assert name_splits(names, root=PurePosixPath(), notes=[]) == [None, None]
