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
    gathered, two_splits = _merge(rows, limit=limit)
    finder = _Finder(tuple(folders) or usual_folders(root))
    records, skipped, empty = [], [], []
    for key, image in gathered.items():
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
        tuple(records), tuple(skipped), tuple(empty), tuple(two_splits), tuple(notes), format, root
    )


def usual_folders(root: Path) -> tuple[Path, ...]:
    """The folder itself and the folders inside it that data sets keep images in."""
    return (root, *(root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()))


def _merge(rows: Iterable[Row], *, limit: int | None) -> tuple[dict[str, _Gathered], list[str]]:
    gathered: dict[str, _Gathered] = {}
    two_splits: dict[str, None] = {}
    for row in rows:
        key = row.image_id or _normalise(row.name)
        image = gathered.get(key)
        if image is None:
            if limit is not None and len(gathered) >= limit:
                # Captions of one image need not lie side by side in a table, but past the limit
                # an endless stream must end.
                break
            image = gathered[key] = _Gathered(row)
        image.captions += [" ".join(text.split()) for text in row.captions]
        image.group = image.group or row.group
        if row.split is not None and row.split not in image.splits:
            image.splits.append(row.split)
            if len(image.splits) > 1:
                two_splits[key] = None
    return gathered, list(two_splits)


def _normalise(name: str) -> str:
    return str(PurePosixPath(name)) if name else name


def _reason_to_skip(name: str, *, source: ImageSource | None, captions: Sequence[str]) -> str:
    if source is None and name.startswith(("http://", "https://")):
        return "remote"
    if source is None:
        return "missing"
    if not captions:
        return "no_caption"
    return ""


class _Finder:
    """Finds the file of a name; remembers the folder that had the last one."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = list(folders)

    def find(self, name: str) -> Path | None:
        if not name:
            return None
        found = self._find_exactly(name)
        if found is None and "\\" in name:
            return self._find_exactly(name.replace("\\", "/"))
        return found

    def describe(self) -> str:
        return "looked in " + ", ".join(str(folder) for folder in self._folders)

    def _find_exactly(self, name: str) -> Path | None:
        for place, folder in enumerate(self._folders):
            path = folder / name
            # lexists-like on purpose: a FIFO or a broken file is there, and decoding names it.
            if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
                self._folders.insert(0, self._folders.pop(place))
                return path
        return None
