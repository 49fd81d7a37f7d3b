"""Names and paths as the journal stores them: as bytes, because file names need not be valid text.

Paths inside the folder that holds the journal are relative to it, so that a library that was moved,
copied, or mounted elsewhere is resumed and undone where its journal is.
"""

from __future__ import annotations

import os
from pathlib import Path

from captune.bulk.items import Item


def encode_name(name: str) -> bytes:
    """Return a name as bytes; different strings, even with surrogates, give different bytes."""
    return name.encode("utf-8", "surrogatepass")


def decode_name(stored: bytes) -> str:
    """Return the name that `encode_name` stored."""
    return stored.decode("utf-8", "surrogatepass")


def image_key(item: Item, folder: str) -> str:
    """Return what identifies an image whatever the current folder of a command is.

    Args:
        item: The image; one without a file is identified by its name.
        folder: Absolute path of the folder that holds the journal.
    """
    return item.name if item.file is None else _below(item.file, folder)


def encode_path(path: Path, folder: str) -> bytes:
    """Return a path as bytes, whatever the current folder of a later command is; links stay.

    Args:
        path: The path.
        folder: Absolute path of the folder that holds the journal.
    """
    return os.fsencode(_below(path, folder))


def decode_path(stored: bytes, folder: str) -> Path:
    """Return the absolute path that `encode_path` stored, below where the folder is now."""
    return Path(folder, os.fsdecode(stored))


def _below(path: Path | str, folder: str) -> str:
    place = os.path.abspath(path)  # noqa: PTH100 - links stay
    return place.removeprefix(os.path.join(folder, ""))  # noqa: PTH118
