"""The result of loading a data set: the records, and every image that was skipped.

Hugging Face's imagefolder silently drops images and keeps rows without a file; here everything
that is not used is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captune.data.record_store import count_by_split
from captune.errors import DataError, ImageError
from captune.records import CaptionRecord, ImageSource, Split
from captune.suggest import format_count

CHECK_DATA = "check the path; docs/guides/data.md describes each format"
"""The fix of errors of readers that find none of their files."""


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """An image that is not used.

    Attributes:
        image_id: Its id.
        file: A readable name of its file.
        reason: One word, such as `missing`, `truncated` or `not_an_image`.
        detail: Details, may be empty.
    """

    image_id: str
    file: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StreamedImage:
    """An image of an archive or a table that is read as a stream, without captions.

    Attributes:
        name: Unique in its source, the same in every reading.
        source: The image; `None`: it cannot be used.
        error: Why it cannot be used.
    """

    name: str
    source: ImageSource | None = None
    error: ImageError | None = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to read a data set; the defaults detect everything.

    Attributes:
        format: Name of a format, or `auto`.
        image_column: Column with the image; `None`: detected.
        caption_column: Column with the caption or the list of captions; `None`: detected.
        image_root: Folder of the images; `None`: beside the captions.
        allow_outside: Whether absolute names and names with `..` may lead out of the data set's
            folder and `image_root`.
        split_files: Lists of image names, one per line, that give the splits.
        redraw: Whether the data set's own splits are ignored, so that they are drawn again.
        filters: Column -> value or values: rows with another value in it are skipped.
        limit: Maximum number of images, from the start; `None`: all.
        revision: Revision of a hub or Kaggle data set; `None`: the newest.
        streaming: Read a hub data set, or tar shards at a URL, row by row, without downloading
            all of it first.
        keep_columns: Whether `LoadedData.columns` is filled, which only writing a data set needs.
        memory_limit: Maximum bytes of images from a hub data set or Parquet held in memory; the
            rest goes to files under `$CAPTUNE_CACHE`, else `~/.cache/captune`.
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
        """Return the folders that image names may lead into; `root` is the data set's own."""
        return tuple(folder for folder in (root, self.image_root) if folder is not None)


@dataclass(frozen=True, slots=True)
class LoadedData:
    """A loaded data set.

    Attributes:
        records: The usable images, each once, in the order of the data set.
        skipped: Skipped images, with the reason.
        empty_captions: Ids of images with an empty caption, once per empty caption.
        in_two_splits: Ids of images that the data set itself puts into two splits; they are kept
            in the first of train, val, test, so that no scored image was trained on.
        notes: Readable sentences about decisions made while reading.
        draws_rest: Whether images without a split are drawn into the splits that are not given:
            lists, or the data set itself, give some splits, but not train.
        columns: Further columns of each image, by id, if `keep_columns` is set.
        near_misses: By missing name, an existing file that looks like it, for the first few.
        format: Name of the format.
        root: Folder of the data set; `None`: it has none.
    """

    records: Sequence[CaptionRecord]
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
        """Return images per split, `none` for those without one; empty splits are omitted."""
        return {name or "none": number for name, number in count_by_split(self.records).items()}


def raise_when_too_many_bad(
    skipped: Sequence[SkippedImage], *, num_images: int, max_bad_fraction: float
) -> None:
    """Refuse a data set with too many unusable images.

    Args:
        skipped: The unusable images.
        num_images: Number of images in the data set, including the unusable ones.
        max_bad_fraction: Maximum unusable share, 0..1.

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
        f"{len(skipped)} of {format_count(num_images, 'image')} unusable ({counted}), more than"
        f" data.max_bad_fraction {max_bad_fraction:g} allows",
        where=f"first: {skipped[0].file or skipped[0].image_id}",
        fix="run `captune data check`; fix the files, or raise data.max_bad_fraction",
    )
