"""Which images are scored: a split, the whole set where it has no splits, or a seeded part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from captune.data import (
    LoadedData,
    LoadOptions,
    SkippedImage,
    load_records,
    select_split,
)
from captune.errors import DataError
from captune.evaluation.predict_records import choose_scored
from captune.records import CaptionRecord, Split

WHOLE = "all"
"""Name of the split of a data set that has none."""


@dataclass(frozen=True, slots=True)
class ScoredData:
    """The images to score.

    Attributes:
        records: With human captions, in the order of the data.
        training_records: The training split, where the data set has one.
        split: Which split `records` are; `all` where the data set has none.
        skipped: Images that the data set names and that cannot be used.
        notes: Sentences for people about what was chosen.
    """

    records: Sequence[CaptionRecord]
    training_records: Sequence[CaptionRecord]
    split: str
    skipped: Sequence[SkippedImage]
    notes: Sequence[str]

    def describe(self, path: str) -> str:
        """The data set and what of it is scored, in one line."""
        return f"{path}, split: {self.split}, {len(self.records)} images"


def load_scored(
    path: str, options: LoadOptions, *, split: Split, max_images: int | None, seed: int
) -> ScoredData:
    """Load a data set, or a run's folder with its saved splits, and choose what is scored.

    Args:
        path: Folder, file, hub id, or a run's folder.
        options: How to read it.
        split: The split wanted; a data set without splits is used whole.
        max_images: Images at most, drawn with the seed; `None`: all.
        seed: Of that draw.

    Raises:
        DataError: Nothing usable there, or the split is not; what there is is named.
    """
    data = load_records(path, options)
    if data.format == "run":
        data = replace(data, notes=(f"splits: those saved in {data.root}", *data.notes))
    return select_scored(data, split=split, max_images=max_images, seed=seed)


def select_scored(
    data: LoadedData, *, split: Split, max_images: int | None, seed: int
) -> ScoredData:
    """Choose what is scored of a data set that is read already; see `load_scored`.

    Raises:
        DataError: The split is not there, or none of its images has a caption.
    """
    notes = list(data.notes)
    has_splits = any(record.split is not None for record in data.records)
    if has_splits:
        records = select_split(data.records, split)
    else:
        records = list(data.records)
        notes.append(
            f"the data set has no splits: all {len(records)} images are scored, the ones that a"
            " model was trained on too"
        )
    captioned = [record for record in records if record.captions]
    if not captioned:
        raise DataError(
            f"none of the {len(records)} images has a human caption to score against",
            fix="give data with captions; `captune caption` needs none",
        )
    if len(captioned) < len(records):
        notes.append(f"{len(records) - len(captioned)} images without a caption are left out")
    chosen = choose_scored(captioned, max_images, seed=seed)
    if len(chosen) < len(captioned):
        notes.append(f"{len(chosen)} of {len(captioned)} images are scored, drawn with seed {seed}")
    return ScoredData(
        records=chosen,
        training_records=[record for record in data.records if record.split == "train"],
        split=split if has_splits else WHOLE,
        skipped=data.skipped,
        notes=notes,
    )
