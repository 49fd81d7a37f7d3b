"""Whether anything below some folders has changed: names, sizes and times of all files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_YOUNG_NS = 2_000_000_000
"""A file changed so recently may change again within the same tick of its time."""


def digest_files(places: Iterable[Path], most: int | None = None) -> str | None:
    """Return a digest of the files below folders, and of single files; links are followed.

    Args:
        places: Folders and files; those that do not exist are part of the digest too.
        most: Maximum number of entries.

    Returns:
        `None` if there are more entries, a folder cannot be read, or a file has just changed.
    """
    state = _State(most, time.time_ns() - _YOUNG_NS)
    try:
        for place in places:
            state.add(place)
    except (_UnknownStateError, OSError):
        return None
    return state.digest.hexdigest()


class _UnknownStateError(Exception):
    """The state cannot be determined, or is not worth the time."""


@dataclass(slots=True)
class _State:
    most: int | None
    newest: int
    digest: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))
    count: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, place: Path) -> None:
        """Add a folder with everything below it, or a file."""
        if place.is_dir():
            self._add_folder(os.path.realpath(place))
        elif place.exists():
            self._note([f"{place}\n{self._describe(place.stat())}"])
        else:
            self._note([f"{place}\nmissing"])

    def _add_folder(self, real: str) -> None:
        if real in self.seen:
            return
        self.seen.add(real)
        with os.scandir(real) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        lines = [real]
        folders = []
        for entry in entries:
            if entry.is_dir():
                folders.append(os.path.realpath(entry.path) if entry.is_symlink() else entry.path)
                lines.append(f"{entry.name}\nfolder {folders[-1]}")
                continue
            try:
                lines.append(f"{entry.name}\n{self._describe(entry.stat())}")
            except FileNotFoundError:
                lines.append(f"{entry.name}\nbroken link")
        self._note(lines)
        for folder in folders:
            self._add_folder(folder)

    def _describe(self, state: os.stat_result) -> str:
        if max(state.st_mtime_ns, state.st_ctime_ns) > self.newest:
            raise _UnknownStateError
        return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"

    def _note(self, lines: list[str]) -> None:
        self.count += len(lines)
        if self.most is not None and self.count > self.most:
            raise _UnknownStateError
        self.digest.update("\n".join(lines).encode("utf-8", "surrogateescape"))
