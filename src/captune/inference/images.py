"""Find the images that files, folders and globs name, one at a time and without opening them.

A folder of a million files is never held as a list: the first image is found at once, and memory
stays flat. Folders are compared by their real paths, so that links and overlapping inputs list no
image twice.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from captune.data import IMAGE_SUFFIXES
from captune.errors import DataError, ImageError
from captune.net import UrlRules, parse_url
from captune.storage import TextSet
from captune.suggest import did_you_mean, format_count

SORTED_ENTRIES = 20_000
"""A folder with at most this many entries is listed in order of names; a larger one in pieces of
this size in the file system's order, each sorted."""


# Thumbnails, deleted files and snapshots of network storage and Windows: not photographs that a
# user has put there.
_SYSTEM_FOLDERS = frozenset(("@eaDir", "#recycle", "#snapshot", "@Recycle", "$RECYCLE.BIN"))


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file that was found, but neither looked at nor opened: there may be millions.

    Attributes:
        name: Its path as text, unique in a search.
    """

    # A `Path` would be three times as large, and Python interns each part of it: Python 3.12 never
    # frees those, and earlier ones rebuild a table of 2 MB again and again.
    name: str

    def __fspath__(self) -> str:
        """Return the path, for all that opens files."""
        return self.name

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name)


@dataclass(frozen=True, slots=True)
class UnreadableImage:
    """An input or file that cannot be read as an image.

    Attributes:
        name: Path, member of an archive, or URL.
        error: The reason.
    """

    name: str
    error: ImageError


@dataclass(frozen=True, slots=True)
class SkippedLink:
    """A link that leads out of the searched folder and was not followed."""

    path: Path


_Kind = Literal["file", "folder", "link"]
Found = ImageFile | UnreadableImage | SkippedLink


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to list: as named, and its real path."""

    path: str
    real: str


@dataclass(slots=True)
class ImageSearch:
    """Searches for image files; each is found once, at its first place.

    Folders are searched recursively for names with an image's suffix; hidden names (`.name`) and
    the system folders of network storage (`@eaDir`, `#recycle`) are skipped. Files are found in
    order of their names, with subfolders in between, as far as `SORTED_ENTRIES` allows.

    Attributes:
        follow_links: Whether to follow links that lead out of a folder; loops end in either case.
    """

    follow_links: bool = False
    _roots: dict[str, None] = field(default_factory=dict)
    _named: TextSet = field(default_factory=TextSet)

    def expand(self, text: str) -> Iterator[Found]:
        """Return the images of a file, a folder or a glob; a single file may have any suffix.

        Raises:
            DataError: It does not exist, or the glob matches nothing; raised before iteration.
        """
        path = Path(text)
        if os.path.lexists(path):
            return self.walk(path) if is_folder(path) else self.take((path,))
        if not glob.has_magic(text):
            raise DataError(f"there is no {text}{_nearest(path)}", fix="check the path")
        matches = glob.iglob(text, recursive=True)  # noqa: PTH207
        first = next(matches, None)
        if first is None:
            raise DataError(f"nothing matches {text}", fix="check the pattern, and quote it")
        return self._match(first, matches)

    def take(self, paths: Iterable[Path]) -> Iterator[ImageFile]:
        """Yield files given by name, whatever their suffix, that were not found before."""
        last, real = None, ""
        for path in paths:
            parent, name = os.path.split(path)
            if parent != last:
                last, real = parent, os.path.realpath(parent)
            # The walk of a folder has listed its images, but no files with other suffixes.
            is_listed = _has_image_name(name) and self._is_walked(real)
            if not is_listed and self._named.add(os.path.join(real, name)):  # noqa: PTH118
                yield ImageFile(str(path))

    def walk(self, folder: Path) -> Iterator[Found]:
        """Yield the images of a folder and its subfolders, except those found before."""
        root = os.path.realpath(folder)
        if self._is_walked(root):
            return
        self._roots[root] = None
        levels = [self._list(_Folder("" if folder == Path() else str(folder), root), root)]
        while levels:
            found = next(levels[-1], None)
            if found is None:
                levels.pop()
            elif isinstance(found, _Folder):
                levels.append(self._list(found, root))
            else:
                yield found

    def _match(self, first: str, others: Iterator[str]) -> Iterator[Found]:
        piece = [first]
        while piece:
            piece += islice(others, SORTED_ENTRIES - len(piece))
            for path in map(Path, sorted(piece)):
                if is_folder(path):
                    yield from self.walk(path)
                elif path.suffix.lower() in IMAGE_SUFFIXES:
                    yield from self.take((path,))
            piece = list(islice(others, 1))

    def _list(self, folder: _Folder, root: str) -> Iterator[Found | _Folder]:
        """Yield the images and the subfolders of one folder."""
        start, real = os.path.join(folder.path, ""), os.path.join(folder.real, "")  # noqa: PTH118
        try:
            for name, kind in _iter_entries(folder.path or os.curdir):
                path = start + name
                if kind == "link" and not self._may_follow(real + name, root):
                    yield SkippedLink(Path(path))
                elif kind == "folder" or (kind == "link" and is_folder(Path(path))):
                    below = self._enter(path, real + name, is_link=kind == "link")
                    if below is not None:
                        yield below
                elif (kind == "file" or _has_image_name(name)) and not self._was_named(real + name):
                    yield ImageFile(path)
        except OSError as error:
            place = folder.path or os.curdir
            yield UnreadableImage(place, ImageError("io", where=f"{place}: {error}"))

    def _enter(self, path: str, real: str, *, is_link: bool) -> _Folder | None:
        """Return a folder to list; `None` if its images are listed at another place."""
        if not is_link:
            return None if real in self._roots else _Folder(path, real)
        target = os.path.realpath(real)
        if self._is_walked(target):
            return None
        self._roots[target] = None
        return _Folder(path, target)

    def _was_named(self, real: str) -> bool:
        return len(self._named) > 0 and real in self._named

    def _is_walked(self, real: str) -> bool:
        """Return whether a folder is a searched one, or a visible folder inside a searched one."""
        if real in self._roots:
            return True
        return any(
            real.startswith(start) and not _is_hidden(real[len(start) :])
            for start in (os.path.join(root, "") for root in self._roots)  # noqa: PTH118
        )

    def _may_follow(self, path: str, root: str) -> bool:
        target = os.path.realpath(path) + os.sep
        return self.follow_links or target.startswith(root.rstrip(os.sep) + os.sep)


def check_url(url: str, rules: UrlRules | None) -> UnreadableImage | None:
    """Return the error of a URL that may not be opened, else `None`. No request is sent.

    Args:
        url: The URL.
        rules: Rules for URLs; `None`: no URL may be opened.

    Raises:
        DataError: `rules` is `None`.
    """
    if rules is None:
        raise DataError(f"{url} is a URL", fix="allow it with --allow-urls, or download the image")
    try:
        parse_url(url, rules)
    except ImageError as error:
        return UnreadableImage(url, error)
    return None


def no_images(inputs: Iterable[str], *, num_links: int = 0) -> DataError:
    """Return the error for inputs that hold no images.

    Args:
        inputs: The inputs as the user named them.
        num_links: Links found there that lead outside and were not followed.
    """
    what = f"no images in {', '.join(inputs)}"
    if num_links:
        links = format_count(num_links, "link that leads", plural="links that lead")
        return DataError(f"{what}, but {links} outside", fix="follow links with --follow")
    return DataError(what, fix=f"images end in one of: {' '.join(sorted(IMAGE_SUFFIXES))}")


def is_folder(path: Path) -> bool:
    """Return whether the path is a folder; false if it cannot be read."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names, show=lambda name: str(path.parent / name))


def _iter_entries(folder: str) -> Iterator[tuple[str, _Kind]]:
    """Yield the visible links, folders and images of a folder; see `SORTED_ENTRIES`."""
    with os.scandir(folder) as found:
        entries = _kinds(found)
        while True:
            others: dict[str, _Kind] = {}
            # Names only: entries or pairs would take several times the memory.
            names = list(_names(islice(entries, SORTED_ENTRIES), others))
            if not names:
                return
            names.sort(reverse=True)
            # Each name is freed once it is used: the whole list would live until the next piece is
            # read.
            while names:
                name = names.pop()
                yield name, others.get(name, "file")


def _names(entries: Iterable[tuple[str, _Kind]], others: dict[str, _Kind]) -> Iterator[str]:
    """Yield the names; store the kinds of those that are not files in `others`."""
    for name, kind in entries:
        if kind != "file":
            others[name] = kind
        yield name


def _kinds(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, _Kind]]:
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name in _SYSTEM_FOLDERS:
            continue
        if entry.is_symlink():
            yield name, "link"
        elif _is_real_folder(entry):
            yield name, "folder"
        elif _has_image_name(name):
            yield name, "file"


def _has_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") or part in _SYSTEM_FOLDERS for part in Path(relative).parts)


def _is_real_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
