"""Splits from the names of files and folders: `train.csv`, `captions_val.csv`, `test/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from captune.records import Split

_SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "restval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_GLUED = re.compile(
    r"^(captions?|images?|annotations?)|(set|data|split|list|captions?|images?|annotations?)$"
)
_DIGITS = re.compile(r"[\d_-]+")
_MAX_LISTED = 5
_ENDINGS = re.compile(r"\.(tar(\.\w+)?|\w+)$", re.IGNORECASE)


def parse_split(name: str) -> Split | None:
    """Return the split that a name such as `valid`, `train2017` or `testset` means, or `None`."""
    word = name.strip().lower().rstrip("0123456789").rstrip("-_. ")
    return _SPLIT_NAMES.get(word) or _SPLIT_NAMES.get(_GLUED.sub("", word).rstrip("-_. "))


def name_splits(
    paths: Sequence[PurePath], *, root: PurePath, notes: list[str]
) -> list[Split | None]:
    """Return the split that each file's name or folder gives.

    A name that is a split's (`train.csv`, `val-00001.tar`, `test/a.csv`) always counts; a split's
    name inside a longer one (`captions_train.csv`) counts only where every file has one.

    Args:
        paths: The files that are read together.
        root: Folder of the data set; folders above it are ignored.
        notes: A sentence is appended where only some names contain a split, or none of several.
    """
    names = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    own = [_find_own_split(name) for name in names]
    if any(own):
        return own
    inner = [_find_inner_split(name) for name in names]
    if all(inner):
        return inner
    if any(inner):
        named = next(name for name, split in zip(names, inner, strict=True) if split)
        other = next(name for name, split in zip(names, inner, strict=True) if not split)
        notes.append(
            f"{named} names a split, but {other} does not: the names of the files are not used as"
            " splits"
        )
    elif len({_DIGITS.sub("", _ENDINGS.sub("", name.as_posix())) for name in names}) > 1:
        # Not for shards, which are numbered.
        listed = ", ".join(name.as_posix() for name in names[:_MAX_LISTED])
        more = f" and {len(names) - _MAX_LISTED} more" * (len(names) > _MAX_LISTED)
        notes.append(
            f"{len(names)} files are read together, and their names give no splits: {listed}{more}"
        )
    return [None] * len(names)


def _find_own_split(name: PurePath) -> Split | None:
    stem = _ENDINGS.sub("", name.name)
    words = (stem, stem.partition("-")[0], stem.partition(".")[0], *reversed(name.parts[:-1]))
    return next((split for word in words if (split := parse_split(word))), None)


def _find_inner_split(name: PurePath) -> Split | None:
    words = _WORD.findall(_ENDINGS.sub("", name.name))
    found = {split for word in words if (split := parse_split(word))}
    return found.pop() if len(found) == 1 else None
