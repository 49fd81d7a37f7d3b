"""Choose the images to score: a split, a whole data set without splits, or a seeded sample."""

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
from captune.suggest import format_count

WHOLE = "all"
"""Name of the split of a data set without splits."""


@dataclass(frozen=True, slots=True)
class ScoredData:
    """The images to score.

    Attributes:
        records: Images with human captions, in the order of the data.
        training_records: The training split, if the data set has one.
        split: The split of `records`; `all` if the data set has no splits.
        skipped: Images of the data set that cannot be used.
        notes: Readable sentences about the choice.
    """

    records: Sequence[CaptionRecord]
    training_records: Sequence[CaptionRecord]
    split: str
    skipped: Sequence[SkippedImage]
    notes: Sequence[str]

    @property
    def missing(self) -> tuple[SkippedImage, ...]:
        """Images that would be scored if their files could be found.

        Of a data set with splits none are named, as their split is not known.
        """
        is_whole = self.split == WHOLE
        return tuple(s for s in self.skipped if is_whole and s.reason != "no_caption")

    def describe(self, path: str) -> str:
        """Return the data set, split and number of images in one line."""
        return f"{path}, split: {self.split}, {format_count(len(self.records), 'image')}"


def load_scored(
    path: str, options: LoadOptions, *, split: Split, max_images: int | None, seed: int
) -> ScoredData:
    """Load a data set, or a run's folder with its saved splits, and choose what is scored.

    Args:
        path: Folder, file, hub id, or a run's folder.
        options: How to read it.
        split: The split to score; all images of a data set without splits are used.
        max_images: Maximum number of images, drawn with the seed; `None`: all.
        seed: Seed of the draw.

    Raises:
        DataError: There is nothing usable, or the split is missing; available splits are named.
    """
    data = load_records(path, options)
    if data.format == "run":
        data = replace(data, notes=(f"splits: those saved in {data.root}", *data.notes))
    return select_scored(data, split=split, max_images=max_images, seed=seed)


def select_scored(
    data: LoadedData, *, split: Split, max_images: int | None, seed: int
) -> ScoredData:
    """Choose the images to score in a loaded data set; see `load_scored`.

    Raises:
        DataError: The split is missing, or none of its images has a caption.
    """
    notes = list(data.notes)
    has_splits = any(record.split is not None for record in data.records)
    if has_splits:
        records = select_split(data.records, split)
    else:
        records = list(data.records)
        notes.append(
            f"the data set has no splits: {format_count(len(records), 'image')} scored, including"
            " any that a model was trained on"
        )
    captioned = [record for record in records if record.captions]
    if not captioned:
        images = format_count(len(records), "image")
        raise DataError(
            f"no image has a human caption to score against: {images} without one",
            fix="give data with captions; `captune caption` does not need any",
        )
    if len(captioned) < len(records):
        uncaptioned = format_count(len(records) - len(captioned), "image")
        notes.append(f"skipped {uncaptioned} without a caption")
    chosen = choose_scored(captioned, max_images, seed=seed)
    if len(chosen) < len(captioned):
        notes.append(f"{len(chosen)} of {len(captioned)} images scored, drawn with seed {seed}")
    return ScoredData(
        records=chosen,
        training_records=[record for record in data.records if record.split == "train"],
        split=split if has_splits else WHOLE,
        skipped=data.skipped,
        notes=notes,
    )
