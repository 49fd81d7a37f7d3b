"""Whether anything below some folders has changed: names, sizes and times of all files."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from captune.storage import is_folder_entry

RECORD = "stages.json"
"""What a run's folder contains, and no other folder."""

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


def list_entries(path: Path, *, without: Path) -> str:
    """Return names, sizes and times of a file, or of the entries of a folder, as JSON.

    Args:
        path: A file or folder.
        without: A folder; an entry that is, or contains, it is omitted.
    """
    if not path.is_dir():
        # Devices and pipes too: whoever opens them names the setting.
        state = path.stat()
        return json.dumps([(path.name, state.st_size, state.st_mtime_ns)])
    own = os.path.realpath(without)
    facts = []
    with os.scandir(path) as found:
        # As paths are sorted, which older versions did.
        for entry in sorted(found, key=lambda entry: os.path.normcase(entry.name)):
            try:
                state = entry.stat()
            except OSError:
                # A broken link, or one that leads to itself.
                continue
            if not (entry.is_dir() and _is_within(own, os.path.realpath(entry.path))):
                facts.append((entry.name, state.st_size, state.st_mtime_ns))
    return json.dumps(facts)


def digest_below(path: Path, *, without: Path) -> str:
    """Return a digest of names, sizes and times of all files in the subfolders of a folder.

    Hidden files do not count, and neither do the folders of runs. Links are followed.

    Args:
        path: A folder; anything else has no subfolders.
        without: A folder that does not count.

    Returns:
        An empty text if there are no such files, or a folder cannot be read.
    """
    seen = {os.path.realpath(path), os.path.realpath(without)}
    digest, count = hashlib.blake2b(digest_size=12), 0
    try:
        for name, state in _files_below(path, seen, depth=0):
            line = f"{name}\n{state.st_size} {state.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
            count += 1
    except OSError:
        return ""
    return digest.hexdigest() if count else ""


def _files_below(
    folder: Path | str, seen: set[str], *, depth: int
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files of subfolders in the order of their names; at depth 0 there are none yet."""
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    if any(entry.name == RECORD for entry in entries):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if is_folder_entry(entry):
            real = os.path.realpath(entry.path)
            if real not in seen:
                seen.add(real)
                yield from _files_below(entry.path, seen, depth=depth + 1)
        elif depth and os.path.isfile(entry.path):  # noqa: PTH113
            # False, not an error, for a link that leads to itself.
            yield entry.path, entry.stat()


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))  # noqa: PTH118


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
            if is_folder_entry(entry):
                folders.append(os.path.realpath(entry.path) if entry.is_symlink() else entry.path)
                lines.append(f"{entry.name}\nfolder {folders[-1]}")
                continue
            try:
                lines.append(f"{entry.name}\n{self._describe(entry.stat())}")
            except OSError:
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
