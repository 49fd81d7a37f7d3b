"""The tar shards of a data path: a file, a folder, `{000..003}` braces, a glob, or URLs."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from captune.data.names.split_names import parse_split
from captune.errors import DataError
from captune.net import url_path
from captune.storage import list_visible
from captune.suggest import format_count

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 1_000_000
_MAX_DIGITS = 18


def is_shard_pattern(place: Path) -> bool:
    """Return whether a path that does not exist is a pattern for tar files."""
    text = str(place)
    return text.lower().endswith(_SUFFIXES) and any(letter in text for letter in "{*?[")


def list_shards(place: Path) -> list[Path]:
    """Return the tar files at a place and in its folders train, val and test, sorted by name."""
    if place.is_file():
        return [place] if _is_shard(place) else []
    if not place.is_dir():
        return []
    below = [path for path in list_visible(place) if path.is_dir() and parse_split(path.name)]
    return [path for folder in (place, *below) for path in list_visible(folder) if _is_shard(path)]


def expand_shards(pattern: Path) -> list[Path]:
    """Return the files of a pattern: braces are expanded first, in order, then `*`, `?`, `[]`.

    Raises:
        DataError: A file named by the braces is missing, or nothing matches.
    """
    found: list[Path] = []
    absent: list[str] = []
    names = list(_expand_braces(str(pattern)))
    for name in names:
        if any(letter in name for letter in "*?["):
            found += [Path(path) for path in sorted(glob.glob(name)) if Path(path).is_file()]  # noqa: PTH207
        elif Path(name).is_file():
            found.append(Path(name))
        else:
            absent.append(name)
    if absent:
        raise DataError(
            f"{len(absent)} of the {format_count(len(names), 'shard')} of {pattern} missing,"
            f" the first: {absent[0]}",
            fix="fetch them, or narrow the range in the braces",
        )
    if not found:
        raise DataError(
            f"no file matches {pattern}",
            fix="check the path and the pattern: train-{000..003}.tar names four files",
        )
    return list(dict.fromkeys(found))


def is_remote(place: str) -> bool:
    """Return whether a data path is a URL or a `pipe:` command."""
    return "://" in place or place.startswith("pipe:")


def expand_shard_urls(pattern: str) -> list[str]:
    """Return the URLs of a pattern with braces, in order, without requesting them.

    Raises:
        DataError: It is not an http or https URL of tar files.
    """
    scheme = pattern.partition(":")[0].lower()
    if scheme not in ("https", "http"):
        raise DataError(
            f"captune does not run commands to read data: {pattern}"
            if scheme == "pipe"
            else f"{scheme}:// addresses are not supported: {pattern}",
            where="data.path",
            fix="give the https address itself, or fetch the shards and give their folder",
        )
    urls = list(dict.fromkeys(_expand_braces(pattern)))
    for url in urls:
        if not url_path(url).lower().endswith(_SUFFIXES):
            raise DataError(
                f"only tar shards can be read from URLs, not {url}",
                where="data.path",
                fix="fetch the file and give its path; for a hub data set, give its id owner/name",
            )
    return urls


def _expand_braces(text: str) -> Iterator[str]:
    parts = _BRACES.split(text)
    choices = [
        _choices(part, text=text) if place % 2 else [part] for place, part in enumerate(parts)
    ]
    total = 1
    for options in choices:
        total *= len(options)
    if total > _MOST_SHARDS:
        raise DataError(
            f"{text} names {total} shards, more than {_MOST_SHARDS}",
            fix="narrow the range in the braces, or give the folder",
        )
    return ("".join(chosen) for chosen in product(*choices))


def _choices(inside: str, *, text: str) -> list[str]:
    match = _RANGE.fullmatch(inside)
    if match is None:
        return inside.split(",")
    if max(len(match[1]), len(match[2])) > _MAX_DIGITS:
        raise DataError(
            f"{{{inside[:40]}...}} in a shard pattern has too many digits",
            fix="write the first and the last number: {000..127}",
        )
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST_SHARDS:
        raise DataError(
            f"{{{inside}}} in {text} is not a range of shards", fix="write it as {000..003}"
        )
    # Like a shell: zero-padded to the width of the first number.
    return [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]


def _is_shard(path: Path) -> bool:
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()
