"""The records of a bulk run: an image that goes in, and its caption that comes out."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
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
        size: Bytes of the file; `None`: unknown, because it is not a regular file or not found.
        mtime_ns: Time of the file's last change; `None`: unknown. With the size, it spares a
            resumed run from reading the file again.
    """

    name: str
    image: AnyImage
    size: int | None = None
    mtime_ns: int | None = None

    @property
    def file(self) -> str | None:
        """Path of the file on disk; `None`: a member of an archive, a row of a table, or a URL."""
        return self.image.name if isinstance(self.image, ImageFile) else None

    @property
    def path(self) -> Path | None:
        """`file`, beside which text files go."""
        if self.file is None:
            return None
        folder, name = os.path.split(self.file)
        # Python 3.12 keeps each name forever that `Path(name)` is called with, but not this one.
        return _path_in(folder).with_name(name)


FoundItem = Item | ImageFile | UnreadableImage | SkippedLink
"""What a search of the inputs yields; files are items once they have been looked at."""


@lru_cache(maxsize=64)
def _path_in(folder: str) -> Path:
    return Path(folder) / "image"


def look_at(file: ImageFile) -> Item:
    """Return a file with its size and time, taken before it is read, so that edits are noticed."""
    try:
        state = os.stat(file.name)  # noqa: PTH116 - a million times
    except (OSError, ValueError):
        return Item(file.name, file)
    if not stat.S_ISREG(state.st_mode):
        return Item(file.name, file)
    return Item(file.name, file, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class CaptionedItem:
    """A captioned image, as every output receives it.

    Attributes:
        item: The image; its name is the row's `image_id`.
        prediction: Its caption after prefix, template and cleaning, never empty.
    """

    item: Item
    prediction: Prediction
