"""The choice of images to score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from captune.data import LoadedData, LoadOptions, SkippedImage, save_splits
from captune.errors import DataError
from captune.evaluation import load_scored, select_scored
from captune.records import CaptionRecord, Split


def test_a_split_is_chosen_and_the_training_images_are_kept(
    records: list[CaptionRecord],
) -> None:
    splits: list[Split] = ["train", "train", "train", "val", "test", "test"]
    data = LoadedData(tuple(replace(r, split=s) for r, s in zip(records, splits, strict=True)))
    scored = select_scored(data, split="test", max_images=None, seed=0)
    assert [r.image_id for r in scored.records] == ["tree", "car"]
    assert [r.image_id for r in scored.training_records] == ["dog", "cat", "bird"]
    assert (scored.split, scored.notes) == ("test", [])
    assert scored.describe("DATA") == "DATA, split: test, 2 images"


def test_a_data_set_without_splits_is_used_as_a_whole_with_a_note(
    records: list[CaptionRecord],
) -> None:
    bare = LoadedData(tuple(replace(r, split=None) for r in records))
    scored = select_scored(bare, split="test", max_images=None, seed=0)
    assert len(scored.records) == 6
    assert scored.split == "all"
    assert "has no splits: 6 images scored" in scored.notes[0]


def test_a_missing_split_is_an_error_that_names_the_others(records: list[CaptionRecord]) -> None:
    with pytest.raises(
        DataError, match=r"the split val has no images; splits with images: test \(6 images\)"
    ):
        select_scored(LoadedData(tuple(records)), split="val", max_images=None, seed=0)


def test_images_without_a_caption_are_skipped_and_counted(
    records: list[CaptionRecord],
) -> None:
    data = LoadedData((replace(records[0], captions=()), *records[1:]))
    scored = select_scored(data, split="test", max_images=None, seed=0)
    assert len(scored.records) == 5
    assert scored.notes == ["skipped 1 image without a caption"]


def test_data_without_any_caption_is_an_error(records: list[CaptionRecord]) -> None:
    data = LoadedData(tuple(replace(r, captions=()) for r in records))
    with pytest.raises(DataError, match="no image has a human caption to score against: 6 images"):
        select_scored(data, split="test", max_images=None, seed=0)


def test_a_limited_number_of_images_is_drawn_with_a_note(records: list[CaptionRecord]) -> None:
    data = LoadedData(tuple(records), skipped=(SkippedImage("z", "z.png", "missing"),))
    scored = select_scored(data, split="test", max_images=2, seed=9)
    assert len(scored.records) == 2
    assert scored.notes == ["2 of 6 images scored, drawn with seed 9"]
    assert scored.skipped[0].image_id == "z"
    # The image may be one of another split.
    assert scored.missing == ()
    whole = replace(data, records=tuple(replace(r, split=None) for r in records))
    assert select_scored(whole, split="test", max_images=None, seed=9).missing == data.skipped


def test_the_folder_of_a_run_gives_its_saved_splits(
    records: list[CaptionRecord], tmp_path: Path
) -> None:
    saved = [replace(r, split="train" if n < 4 else "test") for n, r in enumerate(records)]
    save_splits(saved, tmp_path, seed=1)
    scored = load_scored(str(tmp_path), LoadOptions(), split="test", max_images=None, seed=0)
    assert [r.image_id for r in scored.records] == ["tree", "car"]
    assert len(scored.training_records) == 4
    assert "those saved in" in scored.notes[0]


def test_filters_on_saved_splits_are_refused_not_ignored(
    records: list[CaptionRecord], tmp_path: Path
) -> None:
    save_splits(records, tmp_path, seed=1)
    options = LoadOptions(filters={"corrupted": "0"})
    with pytest.raises(DataError, match=r"saved splits in .* have no columns to filter by"):
        load_scored(str(tmp_path), options, split="test", max_images=None, seed=0)
