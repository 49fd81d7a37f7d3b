"""Wording of messages: "did you mean", the nearest known name; counts; sizes; commands."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath


def did_you_mean(name: str, known: Iterable[str], *, show: Callable[[str], str] = repr) -> str:
    """Return ` (did you mean 'x'?)`, or an empty text when no known name is near.

    Args:
        name: The wrong name.
        known: The valid names.
        show: Formats the suggested name; in quotes by default.
    """
    nearest = find_nearest(name, known)
    return f" (did you mean {show(nearest)}?)" if nearest is not None else ""


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to `name`, ignoring case; `None` when none is near."""
    # Reversed, so that of two names that differ only in case the first is suggested.
    by_lower = {each.lower(): each for each in reversed(list(known))}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def format_count(count: int, noun: str, *, plural: str | None = None) -> str:
    """Return a count with its noun: `1 image`, `1,000 images`.

    Args:
        count: The number.
        noun: The words for one: `image`, or `image is`.
        plural: The words for any other number; `None`: the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_bytes(size: float) -> str:
    """Return a size on disk: `300 bytes`, `1.2 MB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return format_count(round(size), "byte")


def format_memory(size: float) -> str:
    """Return an amount of memory in the units that devices are sold in: `24.0 GiB`, `95 MiB`."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def name_program(words: Sequence[str]) -> list[str]:
    """Return a process's words with the program's name for its path: `captune` for a module."""
    if not words:
        return []
    program = PurePath(words[0])
    # `python -m captune` and torchrun start the file of the package.
    is_package = program.name == "__main__.py" and program.parent.name
    return [program.parent.name if is_package else program.name, *words[1:]]


def quote_words(*words: str) -> str:
    """Return the words of a command, quoted for the user's shell where they need it."""
    if os.name != "nt":
        return shlex.join(words)
    # cmd.exe takes single quotes for letters. Only Windows waits for this import.
    from subprocess import list2cmdline

    return list2cmdline(words)
