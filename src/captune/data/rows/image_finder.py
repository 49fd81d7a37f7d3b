"""The file that a name in somebody's captions means: which folder has it, and whether two do."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable
from pathlib import Path

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


def usual_folders(root: Path) -> tuple[Path, ...]:
    """The folder itself and the folders inside it that data sets keep images in."""
    return (root, *(root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()))


class ImageFinder:
    """Finds the file of a name; asks the folder first that had the last one.

    Args:
        folders: Where to look.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._given = tuple(dict.fromkeys(folders))
        self._folders = list(self._given)
        self._description: str | None = None

    def find(self, name: str) -> Path | None:
        """The file of a name, relative or absolute; `None` when no folder has it."""
        if not name:
            return None
        found = self._find_exactly(name)
        if found is None and "\\" in name:
            return self._find_exactly(name.replace("\\", "/"))
        return found

    def find_rival(self, name: str, found: Path) -> Path | None:
        """Another folder's file of the same name with another content; `None` when there is none.

        Two images of one name are two images: which of them a caption means, nobody can say.
        """
        for folder in self._given:
            path = folder / name
            # A link, and one folder under two names on a disk that ignores letter case, are fine.
            if path == found or not path.is_file() or path.samefile(found):
                continue
            if not found.is_file() or not filecmp.cmp(path, found, shallow=False):
                return path
        return None

    def describe(self) -> str:
        """Where it looks, for people."""
        if self._description is None:
            places = (f"{path}{'' if path.exists() else ' (not there)'}" for path in self._given)
            self._description = "looked in " + ", ".join(places)
        return self._description

    def _find_exactly(self, name: str) -> Path | None:
        for place, folder in enumerate(self._folders):
            path = folder / name
            # lexists-like on purpose: a FIFO or a broken file is there, and decoding names it.
            if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112
                self._folders.insert(0, self._folders.pop(place))
                return path
        return None
