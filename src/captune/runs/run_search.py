"""Folders of runs below the given ones; everything else there is listed as what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from captune.errors import DataError
from captune.runs.saved_run import MARKS, SavedRun, read_saved_run

_DEPTH = 3
"""Levels below a given folder in which runs are searched."""


def search_runs(folders: Sequence[Path]) -> list[SavedRun]:
    """Return every run in the folders or below them, each once; a folder may be a run itself.

    A folder without a run anywhere below it is returned too, with the state `not a run`.

    Raises:
        DataError: A given folder does not exist, or is a file.
    """
    found: dict[Path, SavedRun] = {}
    for folder in folders:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise DataError(f"{folder} {what}", fix="give folders of runs, such as runs/")
        for place in _walk(folder, _DEPTH):
            key = place.resolve()
            if key not in found and (place != folder or _is_run(place)):
                name = place.relative_to(folder).as_posix() if place != folder else place.name
                found[key] = read_saved_run(place, name=name or place.resolve().name)
    return list(found.values())


def _walk(folder: Path, depth: int, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the runs in or below a folder; the folder itself if there are none."""
    if _is_run(folder) or depth == 0:
        yield folder
        return
    above |= {folder.resolve()}
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        # A link to a folder above would list its runs twice.
        children = [p for p in visible if p.is_dir() and p.resolve() not in above]
    except OSError:
        yield folder
        return
    below = [place for child in children for place in _walk(child, depth - 1, above)]
    if any(map(_is_run, below)):
        yield from below
    elif depth == _DEPTH:
        yield from children
    else:
        yield folder


def _is_run(folder: Path) -> bool:
    try:
        return any((folder / mark).exists() for mark in MARKS)
    except OSError:
        return False
