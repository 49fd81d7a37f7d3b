"""Names that nearly match a file: another machine's paths, no extension, other letters or case.

Such a name is accepted where only one file can be meant, and a note reports how it was found.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.safe_names import is_absolute_name, name_parts
from captune.storage import is_folder_entry
from captune.suggest import find_nearest

_ENDINGS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
"""Spellings of one ending."""

# Comparing a name with more than these takes seconds.
_MAX_COMPARED = 3000


@dataclass(frozen=True, slots=True)
class Guess:
    """The files that a name probably means.

    Attributes:
        paths: One file; or several different ones, when it is unknown which one is meant.
        how: How they were found, as part of a sentence.
    """

    paths: tuple[Path, ...]
    how: str


@dataclass(slots=True)
class _Listing:
    """The contents of a folder, by folded name."""

    folders: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)


class FolderIndex:
    """Index of folders, each listed once, on the first name without an exact match."""

    def __init__(self) -> None:
        self._listings: dict[Path, _Listing] = {}
        self._resolved: dict[Path, Path] = {}

    def guess(self, name: str, folders: Sequence[Path]) -> Guess | None:
        """Return the file with the longest tail of `name` below one of the folders.

        A name in quotes, or with `%20` for a space as in a URL, is tried as it is first.
        """
        found = self._guess_tail(name, folders)
        plain = unquote(name).strip().strip("'\"")
        if found is not None or plain == name or "\0" in plain:
            return found
        found = self._guess_tail(plain, folders)
        return (
            None
            if found is None
            else replace(found, how=f"{found.how}, without quotes or URL escapes")
        )

    def _guess_tail(self, name: str, folders: Sequence[Path]) -> Guess | None:
        parts = name_parts(name)
        for start in range(len(parts)):
            found = [path for folder in folders for path in self._match(folder, parts[start:])]
            distinct = _drop_links(dict.fromkeys(found))
            if distinct:
                how = _describe(
                    parts[start:], distinct[0], is_tail=start > 0 or is_absolute_name(name)
                )
                return Guess(distinct, how)
        return None

    def find_near_miss(self, name: str, folders: Sequence[Path]) -> str | None:
        """Return a file with a similar name: another ending, or a misspelling."""
        *above, last = name_parts(name) or [""]
        number = last.rpartition(".")[0] or last
        for folder in folders:
            listing = self._list(folder / "/".join(above))
            stem = _fold(PurePosixPath(last).stem)
            for key in (stem, _fold(last)):
                if key in listing.stems:
                    return listing.stems[key][0]
            if number.isdecimal():
                digits = number.lstrip("0")
                padded = [key for key in listing.stems if key.lstrip("0") == digits]
                if padded:
                    return listing.stems[padded[0]][0]
            if len(listing.stems) <= _MAX_COMPARED and stem:
                # Without the endings, which make short names similar.
                nearest = find_nearest(stem, listing.stems)
                if nearest is not None:
                    return listing.stems[nearest][0]
        return None

    def resolve_folder(self, folder: Path) -> Path:
        """Return a folder's place with all links followed."""
        if folder not in self._resolved:
            self._resolved[folder] = Path(os.path.realpath(folder))
        return self._resolved[folder]

    def _match(self, folder: Path, parts: Sequence[str]) -> list[Path]:
        places = [folder]
        for part in parts[:-1]:
            places = [
                place / name for place in places for name in _pick(self._list(place).folders, part)
            ]
        found = []
        for place in places:
            listing = self._list(place)
            names = _pick(listing.files, parts[-1])
            if not names:
                names = _pick_by_stem(listing.stems, parts[-1])
            found += [place / name for name in names]
        return found

    def _list(self, folder: Path) -> _Listing:
        if folder not in self._listings:
            self._listings[folder] = _list_folder(folder)
        return self._listings[folder]


def _list_folder(folder: Path) -> _Listing:
    listing = _Listing()
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return listing
    for entry in entries:
        key = _fold(entry.name)
        if is_folder_entry(entry):
            listing.folders.setdefault(key, []).append(entry.name)
            continue
        listing.files.setdefault(key, []).append(entry.name)
        if _has_image_suffix(entry.name):
            stem = _fold(entry.name.rpartition(".")[0])
            listing.stems.setdefault(stem, []).append(entry.name)
    return listing


def _pick(names: dict[str, list[str]], wanted: str) -> list[str]:
    found = names.get(_fold(wanted), [])
    return [wanted] if wanted in found else found


def _pick_by_stem(stems: dict[str, list[str]], wanted: str) -> list[str]:
    """Return the names that differ from `wanted` only in the presence or spelling of an ending."""
    if not _has_image_suffix(wanted):
        return stems.get(_fold(wanted), [])
    path = PurePosixPath(_fold(wanted))
    ending = _ENDINGS.get(path.suffix, path.suffix)
    names = stems.get(path.name.removesuffix(path.suffix), [])
    suffixes = [PurePosixPath(_fold(name)).suffix for name in names]
    return [
        name
        for name, suffix in zip(names, suffixes, strict=True)
        if _ENDINGS.get(suffix, suffix) == ending
    ]


def _fold(name: str) -> str:
    return _compose(_compose(name).casefold())


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _has_image_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _drop_links(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return each file once, though several links or spellings lead to it."""
    by_file = {os.path.realpath(path): path for path in reversed(list(paths))}
    return tuple(reversed(by_file.values()))


def _describe(parts: Sequence[str], found: Path, *, is_tail: bool) -> str:
    names = found.parts[-len(parts) :]
    how = ["the end of their path"] if is_tail else []
    if _fold(names[-1]) != _fold(parts[-1]):
        how.append(
            "another spelling of their extension"
            if _has_image_suffix(parts[-1])
            else "their name without an extension"
        )
        names, parts = names[:-1], parts[:-1]
    if any(_compose(a) != _compose(b) for a, b in zip(names, parts, strict=True)):
        how.append("another letter case")
    elif tuple(names) != tuple(parts):
        how.append("another Unicode form of their name")
    return " and ".join(how) or "their name"
