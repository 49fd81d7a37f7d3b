"""What goes through a bulk run: an image on its way in, and a row on its way out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captune.inference import AnyImage, SkippedLink, UnreadableImage
from captune.records import Prediction


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a bulk run, not read yet.

    Attributes:
        name: Unique in the run; shown, and the `image_id` of outputs. Bytes of a file name that
            are not UTF-8 are surrogates.
        image: What `LoadedCaptioner.stream` takes; read late.
        path: The file on disk, beside which text files go; `None`: a member of an archive, a row
            of a table, or a URL.
        size: Bytes of the file; `None`: unknown.
        mtime_ns: Time of the file's last change; `None`: unknown. With the size, it spares a
            resumed run a second reading.
    """

    name: str
    image: AnyImage
    path: Path | None = None
    size: int | None = None
    mtime_ns: int | None = None


FoundItem = Item | UnreadableImage | SkippedLink
"""What a search of the inputs yields."""


@dataclass(frozen=True, slots=True)
class CaptionedItem:
    """A captioned image, as every output gets it.

    Attributes:
        item: The image; its name is the row's `image_id`.
        prediction: Its caption after prefix, template and cleaning, never empty.
    """

    item: Item
    prediction: Prediction
