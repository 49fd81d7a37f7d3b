"""What loading a data set gives: the records, and everything that was kept out, by name.

Hugging Face's imagefolder silently drops images and silently keeps rows without a file; here
nothing leaves a data set unsaid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, Split


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """An image that is not used.

    Attributes:
        image_id: Its id.
        file: Its file as a person would look for it.
        reason: One word, such as `missing`, `truncated` or `not_an_image`.
        detail: The rest of the story, may be empty.
    """

    image_id: str
    file: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to read a data set; the defaults look at it and find out.

    Attributes:
        format: Name of a format, or `auto`.
        image_column: Column with the image; `None`: detected.
        caption_column: Column with the caption or the list of captions; `None`: detected.
        image_root: Folder of the images; `None`: beside the captions.
        allow_outside: Whether absolute names and names with `..` may lead out of the data set's
            folder and `image_root`.
        split_files: Lists of image names, one a line, that give the splits.
        redraw: Whether the data set's own splits are set aside, so that they are drawn anew.
        filters: Column -> value or values: rows with another value there are left out.
        limit: Images read at most, from the start; `None`: all.
        revision: Revision of a hub or Kaggle data set; `None`: the newest.
        streaming: Read a hub data set, or tar shards at a URL, row by row instead of downloading
            them whole.
        keep_columns: Whether `LoadedData.columns` is filled: only who writes a data set needs it.
        memory_limit: Bytes of images from a hub data set or Parquet held in memory; the rest goes
            to files under `$CAPTUNE_CACHE`, else `~/.cache/captune`.
    """

    format: str = "auto"
    image_column: str | None = None
    caption_column: str | None = None
    image_root: Path | None = None
    allow_outside: bool = False
    split_files: Mapping[Split, Path | str] = field(default_factory=dict)
    redraw: bool = False
    filters: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    limit: int | None = None
    revision: str | None = None
    streaming: bool = False
    keep_columns: bool = False
    memory_limit: int = 2**30

    def list_bounds(self, root: Path | None) -> tuple[Path, ...]:
        """Return the folders that names in a data set may lead into, `root` being its own."""
        return tuple(folder for folder in (root, self.image_root) if folder is not None)


@dataclass(frozen=True, slots=True)
class LoadedData:
    """A data set, read.

    Attributes:
        records: The usable images, each once, in the order of the data set.
        skipped: Images kept out, with the reason.
        empty_captions: Ids of images that had an empty caption, once for each.
        in_two_splits: Ids of images that the data set itself puts into two splits; they are kept
            in the first of train, val, test, so that what is scored was never trained on.
        notes: Sentences about what was decided while reading, for people.
        draws_rest: Whether the images without a split are to be drawn into the splits that are not
            given: lists give some splits, but not train.
        columns: What else the data set says of each image, by id, where that is kept.
        near_misses: Names of files that look like one that is missing, by the missing name; of
            the first few.
        format: Name of the format read.
        root: Folder of the data set; `None` where it has none.
    """

    records: tuple[CaptionRecord, ...]
    skipped: tuple[SkippedImage, ...] = ()
    empty_captions: tuple[str, ...] = ()
    in_two_splits: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    draws_rest: bool = False
    columns: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    near_misses: Mapping[str, str] = field(default_factory=dict)
    format: str = ""
    root: Path | None = None

    def count_splits(self) -> dict[str, int]:
        """Images by split, `none` for those without one; splits without images are absent."""
        counts: dict[str, int] = {}
        for name in (*SPLITS, None):
            number = sum(record.split == name for record in self.records)
            if number:
                counts[name or "none"] = number
        return counts


def raise_when_too_many_bad(
    skipped: Sequence[SkippedImage], *, num_images: int, max_bad_fraction: float
) -> None:
    """Stop a run whose data is mostly broken.

    Args:
        skipped: The unusable images.
        num_images: All images of the data set, the unusable ones included.
        max_bad_fraction: Largest share that may be unusable, 0..1.

    Raises:
        DataError: A larger share is unusable.
    """
    if num_images == 0 or len(skipped) <= max_bad_fraction * num_images:
        return
    reasons: dict[str, int] = {}
    for image in skipped:
        reasons[image.reason] = reasons.get(image.reason, 0) + 1
    counted = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
    raise DataError(
        f"{len(skipped)} of {num_images} images are unusable ({counted}), more than"
        f" data.max_bad_fraction {max_bad_fraction:g} allows",
        where=f"first: {skipped[0].file or skipped[0].image_id}",
        fix="look at `captune data check`; mend the files, or raise data.max_bad_fraction",
    )
