"""Entries of folders, in the order in which they are read or deleted."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def list_visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted, without hidden ones.

    On disks that are not its own, macOS writes `._train.csv` beside each `train.csv`.

    Raises:
        OSError: The folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def newest_first(paths: Iterable[Path]) -> list[Path]:
    """Return the paths by the time of their last change, without those that are gone by now."""
    times = []
    for path in paths:
        with suppress(OSError):
            times.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(times, reverse=True)]
