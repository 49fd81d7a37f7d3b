"""Rows of an image and captions, as files hold them, gathered to one record an image.

Every format ends here, so that all of them find files, keep order, merge captions and name what
they leave out in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from captune.data.loaded import LoadedData, SkippedImage
from captune.records import SPLITS, CaptionRecord, ImageSource, Split

_IMAGE_FOLDERS = (
    "Images",
    "images",
    "image",
    "imgs",
    "img",
    "photos",
    "data",
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "flickr30k_images",
    "flickr30k-images",
)

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "restval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data set.

    Attributes:
        name: The image as the row names it; shown to people and, without `image_id`, the id.
        captions: Captions of this row, maybe not all of the image.
        image: Where the image is when the row itself says it; `None`: looked for by name.
        image_id: The id that the data set gives, empty for none.
        split: The split that the data set gives.
        group: The group that the data set gives.
    """

    name: str
    captions: tuple[str, ...]
    image: ImageSource | None = None
    image_id: str = ""
    split: Split | None = None
    group: str | None = None


@dataclass(slots=True)
class _Gathered:
    first: Row
    captions: list[str] = field(default_factory=list)
    splits: list[Split] = field(default_factory=list)
    group: str | None = None


@dataclass(slots=True)
class _Merged:
    images: dict[str, _Gathered] = field(default_factory=dict)
    in_two_splits: dict[str, None] = field(default_factory=dict)
    reused_ids: dict[str, None] = field(default_factory=dict)


def parse_split(name: str) -> Split | None:
    """The split that a name such as `valid` or `train2017` means; `None` when it means none."""
    return _SPLIT_NAMES.get(name.strip().lower().rstrip("0123456789").rstrip("-_. "))


def gather_rows(
    rows: Iterable[Row],
    *,
    format: str,
    root: Path,
    folders: Sequence[Path] = (),
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> LoadedData:
    """Merge rows of one image, find its file, and keep out what has no file or no caption.

    Args:
        rows: Rows in the order of the data set.
        format: Name of the format, for the result.
        root: Folder of the data set.
        folders: Where files are looked for; empty: `root` and its usual image folders.
        limit: Images at most; rows are read no further than needed to see the next image.
        notes: Passed on.

    Returns:
        One record an image, in order of first appearance.
    """
    merged = _merge(rows, limit=limit)
    finder = ImageFinder(tuple(folders) or usual_folders(root))
    records, skipped, empty = [], [], []
    for key, image in merged.images.items():
        captions = tuple(text for text in image.captions if text)
        empty += [key] * (len(image.captions) - len(captions))
        source = image.first.image or finder.find(image.first.name)
        reason = _reason_to_skip(image.first.name, source=source, captions=captions)
        if source is None or reason:
            detail = finder.describe() if reason == "missing" else ""
            skipped.append(SkippedImage(key, image.first.name, reason, detail))
            continue
        records.append(
            CaptionRecord(
                image_id=key,
                image=source,
                captions=captions,
                split=min(image.splits, key=SPLITS.index, default=None),
                group=image.group,
                file_name=image.first.name,
            )
        )
    return LoadedData(
        records=tuple(records),
        skipped=tuple(skipped),
        empty_captions=tuple(empty),
        in_two_splits=tuple(merged.in_two_splits),
        notes=(*notes, *_note_reused(merged)),
        format=format,
        root=root,
    )


def usual_folders(root: Path) -> tuple[Path, ...]:
    """The folder itself and the folders inside it that data sets keep images in."""
    return (root, *(root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()))


def _merge(rows: Iterable[Row], *, limit: int | None) -> _Merged:
    merged = _Merged()
    for row in rows:
        key = _choose_key(row, merged)
        image = merged.images.get(key)
        if image is None:
            if limit is not None and len(merged.images) >= limit:
                # Captions of one image need not lie side by side in a table, but past the limit
                # an endless stream must end.
                break
            image = merged.images[key] = _Gathered(row)
        image.captions += [" ".join(text.split()) for text in row.captions]
        image.group = image.group or row.group
        if row.split is not None and row.split not in image.splits:
            image.splits.append(row.split)
            if len(image.splits) > 1:
                merged.in_two_splits[key] = None
    return merged


def _choose_key(row: Row, merged: _Merged) -> str:
    """The row's id, unless it is another image's: then the split with it, then its name.

    Ids that start at 0 anew in each split are common, and merging those images would give each
    the other's captions.
    """
    name = str(PurePosixPath(row.name)) if row.name else row.name
    if not row.image_id:
        return name
    in_split = [f"{row.split}/{row.image_id}"] if row.split else []
    keys = (row.image_id, *in_split, name)
    for key in keys:
        image = merged.images.get(key)
        if image is None or (image.first.name, image.first.image) == (row.name, row.image):
            if key != row.image_id:
                merged.reused_ids[row.image_id] = None
            return key
    return f"{row.split or row.image_id}/{name}"


def _reason_to_skip(name: str, *, source: ImageSource | None, captions: Sequence[str]) -> str:
    if source is None and name.startswith(("http://", "https://")):
        return "remote"
    if source is None:
        return "missing"
    if not captions:
        return "no_caption"
    return ""


def _note_reused(merged: _Merged) -> list[str]:
    if not merged.reused_ids:
        return []
    number, first = len(merged.reused_ids), next(iter(merged.reused_ids))
    return [f"{number} ids name several images (the first: {first}); all but one were renamed"]


class ImageFinder:
    """Finds the file of a name; asks the folder first that had the last one.

    Args:
        folders: Where to look.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = list(folders)

    def find(self, name: str) -> Path | None:
        """The file of a name, relative or absolute; `None` when no folder has it."""
        if not name:
            return None
        found = self._find_exactly(name)
        if found is None and "\\" in name:
            return self._find_exactly(name.replace("\\", "/"))
        return found

    def describe(self) -> str:
        """Where it looks, for people."""
        return "looked in " + ", ".join(str(folder) for folder in self._folders)

    def _find_exactly(self, name: str) -> Path | None:
        for place, folder in enumerate(self._folders):
            path = folder / name
            # lexists-like on purpose: a FIFO or a broken file is there, and decoding names it.
            if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
                self._folders.insert(0, self._folders.pop(place))
                return path
        return None
