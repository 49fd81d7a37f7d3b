"""The records of a bulk run: an image that goes in, and its caption that comes out."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from captune.inference import AnyImage, ImageFile, SkippedLink, UnreadableImage
from captune.records import Prediction


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a bulk run, not read yet.

    Attributes:
        name: Unique in the run; displayed, and the `image_id` of outputs. Bytes of a file name
            that are not UTF-8 are surrogates.
        image: What `LoadedCaptioner.stream` accepts; not read until it is needed.
        path: The file on disk, beside which text files go; `None`: a member of an archive, a row
            of a table, or a URL.
        size: Bytes of the file; `None`: unknown, because it is not a regular file or not found.
        mtime_ns: Time of the file's last change; `None`: unknown. With the size, it spares a
            resumed run from reading the file again.
    """

    name: str
    image: AnyImage
    path: Path | None = None
    size: int | None = None
    mtime_ns: int | None = None


FoundItem = Item | ImageFile | UnreadableImage | SkippedLink
"""What a search of the inputs yields; files are items once they have been looked at."""


def look_at(file: ImageFile) -> Item:
    """Return a file with its size and time, taken before it is read, so that edits are noticed."""
    path = file.path
    try:
        state = os.stat(file.name)  # noqa: PTH116 - a million times
    except (OSError, ValueError):
        return Item(file.name, path, path)
    if not stat.S_ISREG(state.st_mode):
        return Item(file.name, path, path)
    return Item(file.name, path, path, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class CaptionedItem:
    """A captioned image, as every output receives it.

    Attributes:
        item: The image; its name is the row's `image_id`.
        prediction: Its caption after prefix, template and cleaning, never empty.
    """

    item: Item
    prediction: Prediction
