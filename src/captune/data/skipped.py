"""`skipped_images.jsonl`: the images that a run skipped, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from captune.data.dataset import SkippedImage
from captune.errors import DataError
from captune.storage import read_json_objects, write_jsonl

_WRITE_AGAIN = "write it again: captune run RECIPE --from prepare --only prepare"


def save_skipped(skipped: Sequence[SkippedImage], path: Path) -> None:
    """Write one object per line, with `image_id`, `file`, `reason` and `detail`.

    Raises:
        OutputError: The file cannot be written.
    """
    write_jsonl(path, (asdict(image) for image in skipped))


def replace_skipped(skipped: Sequence[SkippedImage], path: Path) -> None:
    """Write the list of `save_skipped`; if nothing was skipped, remove that of an earlier call.

    Raises:
        OutputError: The file cannot be written.
    """
    if skipped:
        save_skipped(skipped, path)
    else:
        path.unlink(missing_ok=True)


def read_skipped(path: Path) -> list[SkippedImage]:
    """Return the images that `save_skipped` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    skipped = []
    for number, row in enumerate(read_json_objects(path, fix=_WRITE_AGAIN), start=1):
        try:
            image = SkippedImage(**row)
            if not all(isinstance(value, str) for value in asdict(image).values()):
                raise TypeError("every value must be text")
        except TypeError as error:
            raise DataError(
                f"not a skipped image: {str(row)[:80]!r}",
                where=f"{path}, line {number}",
                fix=_WRITE_AGAIN,
            ) from error
        skipped.append(image)
    return skipped
