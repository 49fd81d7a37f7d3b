"""Find the images that files, folders, globs and URLs name, before any model is loaded."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captune.data import IMAGE_SUFFIXES
from captune.errors import DataError, ImageError
from captune.net import UrlRules, is_url, parse_url
from captune.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The images that the inputs name.

    Attributes:
        paths: Each file once, in the order of the inputs, sorted by name inside a folder.
        urls: Each URL once, in order; nothing has been requested yet.
        unreadable: Folders that cannot be read and URLs that may not be opened, with the reason.
        skipped_links: Links that lead out of their folder and were not followed.
    """

    paths: tuple[Path, ...]
    urls: tuple[str, ...] = ()
    unreadable: tuple[tuple[Path | str, ImageError], ...] = ()
    skipped_links: tuple[Path, ...] = ()


def find_images(
    inputs: Sequence[str], *, follow_links: bool = False, url_rules: UrlRules | None = None
) -> ImageFiles:
    """Return the image files that the inputs name; no file is opened.

    Folders are searched recursively for names that end like an image's; hidden ones (`.name`) are
    skipped. A file that is given by name is accepted whatever its ending.

    Args:
        inputs: Files, folders, and globs with `*`, `?`, `[...]` and `**`.
        follow_links: Follow links that lead out of a folder; loops end in either case.
        url_rules: Which URLs may be opened; `None`: none.

    Raises:
        DataError: An input does not exist, or is a URL and none may be opened, or there are no
            images.
    """
    search = _Search(follow_links=follow_links)
    for text in inputs:
        if is_url(text) and not os.path.lexists(text):
            search.add_url(text, url_rules)
            continue
        for path in _expand(text):
            search.add(path, is_named=path == Path(text))
    if not search.paths and not search.urls and not search.unreadable:
        raise DataError(
            f"no images in {', '.join(inputs)}",
            fix=f"images end in one of: {' '.join(sorted(IMAGE_SUFFIXES))}",
        )
    return ImageFiles(
        paths=tuple(search.paths.values()),
        urls=tuple(dict.fromkeys(search.urls)),
        unreadable=tuple(search.unreadable),
        skipped_links=tuple(search.skipped_links),
    )


def _expand(text: str) -> list[Path]:
    """Return the path itself if it exists, else the matches of the glob."""
    path = Path(text)
    if os.path.lexists(path):
        return [path]
    if not glob.has_magic(text):
        raise DataError(f"there is no {text}{_nearest(path)}", fix="check the path")
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
    if not matches:
        raise DataError(f"nothing matches {text}", fix="check the pattern, and quote it")
    return matches


def _nearest(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names, show=lambda name: str(path.parent / name))


@dataclass(slots=True)
class _Search:
    """Images found so far; files are compared by absolute path, folders by real path."""

    follow_links: bool
    paths: dict[str, Path] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)
    unreadable: list[tuple[Path | str, ImageError]] = field(default_factory=list)
    skipped_links: list[Path] = field(default_factory=list)
    _folders: set[str] = field(default_factory=set)

    def add(self, path: Path, *, is_named: bool) -> None:
        """Add a file, or the images of a folder; a glob's match must end like an image."""
        if _is_folder(path):
            self._add_folder(path, root=os.path.realpath(path))
        elif is_named or path.suffix.lower() in IMAGE_SUFFIXES:
            self.paths.setdefault(os.path.abspath(path), path)  # noqa: PTH100

    def add_url(self, url: str, rules: UrlRules | None) -> None:
        """Add a URL, unless the rules forbid it; nothing is requested."""
        if rules is None:
            raise DataError(
                f"{url} is a URL", fix="allow it with --allow-urls, or download the image"
            )
        try:
            parse_url(url, rules)
        except ImageError as error:
            self.unreadable.append((url, error))
            return
        self.urls.append(url)

    def _add_folder(self, folder: Path, *, root: str) -> None:
        real = os.path.realpath(folder)
        if real in self._folders:
            return
        self._folders.add(real)
        # As text: a folder may hold a million images, each of which then becomes one `Path`.
        start, absolute = os.path.join(folder, ""), os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
        start = "" if folder == Path() else start
        for entry in self._entries(folder):
            name = entry.name
            if entry.is_symlink() and not self._may_follow(folder / name, root=root):
                self.skipped_links.append(folder / name)
            elif _is_folder_entry(entry):
                self._add_folder(folder / name, root=root)
            elif os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                self.paths.setdefault(absolute + name, Path(start + name))

    def _entries(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable.append((folder, ImageError("io", where=f"{folder}: {error}")))
            return
        yield from (entry for entry in entries if not entry.name.startswith("."))

    def _may_follow(self, path: Path, *, root: str) -> bool:
        target = os.path.realpath(path) + os.sep
        return self.follow_links or target.startswith(root.rstrip(os.sep) + os.sep)


def _is_folder_entry(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one; false if it cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    """Return whether the path is a folder; false if it cannot be read."""
    try:
        return path.is_dir()
    except OSError:
        return False
