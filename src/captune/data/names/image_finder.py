"""The file that a name in a data set means: which folder has it, and whether two do.

The names in a data set are untrusted. A name that is absolute or contains `..` is followed only
inside the folders of the data set, unless the user allows more: otherwise it could put any file of
this machine into reports and pushes.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from captune.data.names.loose_names import FolderIndex, Guess
from captune.data.names.safe_names import is_absolute_name, is_unsafe_name

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
    """Return the folder itself and the usual image folders inside it."""
    return (root, *(root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()))


def name_from_root(name: str, folder: Path, *, root: Path, base: Path) -> str:
    """Return an image's name below the data set's root.

    In a file of `train/`, both `a.jpg` and `train/a.jpg`, which some tools write, mean
    `train/a.jpg`.

    Args:
        name: As a file of the data set writes it.
        folder: Folder of that file.
        root: Folder of the data set.
        base: Folder in which images are searched for.
    """
    if folder == root or is_absolute_name(name):
        return name
    beside = Path(os.path.normpath(folder.relative_to(root) / name)).as_posix()
    is_from_root = not is_unsafe_name(name) and not is_file(base / beside) and is_file(base / name)
    return name if is_from_root else beside


class ImageFinder:
    """Finds files by name, starting with the folder that had the last one.

    Args:
        folders: Folders to search.
        bounds: Folders that absolute names and names with `..` may lead into.
        allow_outside: Whether such names may lead anywhere.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        *,
        bounds: Sequence[Path],
        allow_outside: bool = False,
    ) -> None:
        self._given = tuple(dict.fromkeys(folders))
        self._folders = list(self._given)
        self._bounds = tuple(dict.fromkeys(_absolute(folder) for folder in bounds))
        self._allow_outside = allow_outside
        self._index = FolderIndex()
        self._outside: dict[str, bool] = {}
        self._description: str | None = None

    def find(self, name: str) -> Path | None:
        """Return the file with exactly this name; `None` when no folder has it."""
        if not name or "\0" in name:
            return None
        found = self._find_exactly(name)
        if found is None and "\\" in name:
            return self._find_exactly(name.replace("\\", "/"))
        return found

    def guess(self, name: str) -> Guess | None:
        """Return the file that a name without an exact match means; `None` when none is near.

        Tries the longest tail of the path below a folder, another letter case or Unicode form, and
        the name without its extension.
        """
        return self._index.guess(name, self._given)

    def find_near_miss(self, name: str) -> str | None:
        """Return the name of an existing file that looks like the wanted one."""
        return self._index.find_near_miss(name, self._given)

    def is_outside(self, name: str) -> bool:
        """Return whether a name means an existing file that must not be followed."""
        plain = name.replace("\\", "/")
        if self._allow_outside or not is_unsafe_name(name) or plain.startswith("//"):
            return False
        paths = [_absolute(folder / name) for folder in (*self._given, Path())]
        return any(os.path.exists(path) for path in paths if not self._is_inside(path))  # noqa: PTH110

    def leads_outside(self, path: Path) -> bool:
        """Return whether a found file is outside the data set's folders, through a link."""
        name = os.fspath(path)
        if os.path.islink(name):  # noqa: PTH114
            return not self._is_bounded(Path(os.path.realpath(path)))
        # Most images share a few folders.
        parent = os.path.dirname(name)  # noqa: PTH120
        if parent not in self._outside:
            real = self._index.resolve_folder(path.parent) / path.name
            self._outside[parent] = not self._is_bounded(real)
        return self._outside[parent]

    def _is_bounded(self, path: Path) -> bool:
        folders = [self._index.resolve_folder(folder) for folder in self._bounds]
        return any(path.is_relative_to(folder) for folder in folders)

    def find_rival(self, name: str, found: Path) -> Path | None:
        """Return another folder's file with the same name but other content, or `None`.

        With two images of one name, it is unknown which of them a caption means.
        """
        if is_unsafe_name(name):
            return None
        own = os.fspath(found)
        for folder in self._given:
            # As text first: for each of a million images, all folders but one lack it.
            other = os.path.join(folder, name)  # noqa: PTH118
            if other == own or not os.path.isfile(other):  # noqa: PTH113
                continue
            path = folder / name
            # A link is fine, and so is one folder under two names where case is ignored.
            if path == found or path.samefile(found):
                continue
            if not is_file(found) or not filecmp.cmp(path, found, shallow=False):
                return path
        return None

    def describe(self) -> str:
        """Return a readable list of the folders searched."""
        if self._description is None:
            places = (f"{path}{'' if path.exists() else ' (missing)'}" for path in self._given)
            self._description = "looked in " + (", ".join(places) or "no folder: none was given")
        return self._description

    def _find_exactly(self, name: str) -> Path | None:
        is_unsafe = is_unsafe_name(name)
        folders = self._folders or [Path()] if is_unsafe else self._folders
        for place, folder in enumerate(folders):
            path = os.path.join(folder, name)  # noqa: PTH118
            if is_unsafe:
                # As text, so that `..` after a link leads where it seems to.
                path = os.path.normpath(path)
                if not self._allow_outside and not self._is_inside(_absolute(Path(path))):
                    continue
            # Not only regular files: a FIFO or a broken file exists too, and decoding reports it.
            if _is_there(path):
                if place:
                    self._folders.insert(0, self._folders.pop(place))
                return Path(path)
        return None

    def _is_inside(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._bounds)


def is_file(path: Path) -> bool:
    """Return whether a file exists; `False` for impossible names and in unreadable folders."""
    # pathlib raises for names that are too long or hold a NUL, and without permission to look.
    return os.path.isfile(path)  # noqa: PTH113


def _is_there(path: str) -> bool:
    """Return whether something other than a folder exists."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100
