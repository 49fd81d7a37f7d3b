"""Folders of runs below the given ones; everything else there is listed as what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from captune.errors import DataError
from captune.runs.saved_run import SavedRun, is_run, read_saved_run
from captune.storage import list_visible

_DEPTH = 3
"""Levels below a given folder in which runs are searched."""


def search_runs(folders: Sequence[Path]) -> list[SavedRun]:
    """Return every run in the folders or below them, each once; a folder may be a run itself.

    A folder without a run anywhere below it is returned too, with the state `not a run`. Runs of
    the same name, as in `a/demo` and `b/demo`, are named by more of their paths.

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
            if key not in found and (place != folder or is_run(place)):
                name = place.relative_to(folder).as_posix() if place != folder else place.name
                found[key] = read_saved_run(place, name=name or place.resolve().name)
    return _name_apart(found)


def _name_apart(found: Mapping[Path, SavedRun]) -> list[SavedRun]:
    """Return the runs with names that differ: those that are equal get one more folder in front."""
    names = {place: run.name for place, run in found.items()}
    while equal := {name for name, number in Counter(names.values()).items() if number > 1}:
        for place in [place for place, name in names.items() if name in equal]:
            parts = place.parts
            shown = min(len(parts), len(Path(names[place]).parts) + 1)
            names[place] = Path(*parts[-shown:]).as_posix()
    return [replace(run, name=names[place]) for place, run in found.items()]


def _walk(folder: Path, depth: int, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield the runs in or below a folder; the folder itself if there are none."""
    if is_run(folder) or depth == 0:
        yield folder
        return
    above |= {folder.resolve()}
    try:
        # A link to a folder above would list its runs twice.
        children = [p for p in list_visible(folder) if p.is_dir() and p.resolve() not in above]
    except OSError:
        yield folder
        return
    below = [place for child in children for place in _walk(child, depth - 1, above)]
    if any(map(is_run, below)):
        yield from below
    elif depth == _DEPTH:
        yield from children
    else:
        yield folder
