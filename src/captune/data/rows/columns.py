"""The image and caption columns, found by name, for every format that has columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from captune.caption_cells import CAPTION_KEYS
from captune.data.dataset import LoadOptions
from captune.data.names.split_names import parse_split
from captune.data.rows.text import replace_half_letters
from captune.errors import DataError
from captune.records import Split

IMAGE_COLUMNS = (
    "image",
    "image_path",
    "file_name",
    "filename",
    "image_name",
    "image_file",
    "img",
    "img_path",
    "filepath",
    "file_path",
    "file",
    "path",
    "photo",
    "picture",
    "jpg",
    "jpeg",
    "png",
    "webp",
)
CAPTION_COLUMNS = CAPTION_KEYS
SPLIT_COLUMNS = ("split", "subset", "partition", "data_split", "dataset_split", "set")
_NUMBERED = re.compile(r"(?P<stem>.*?[a-z])[ ._-]?(?P<number>\d{1,9})$")


def find_columns(
    names: Sequence[str], *, options: LoadOptions, where: str
) -> tuple[str, tuple[str, ...]]:
    """Return the names of the image column and of the caption columns, as the data spells them.

    Raises:
        DataError: A named column is missing, no column has a usual name, or both are the same.
    """
    image = find_column(names, options.image_column, usual=IMAGE_COLUMNS)
    captions = find_captions(names, options.caption_column)
    if image is None:
        raise _no_column("image", names, asked=options.image_column, where=where)
    if not captions:
        raise _no_column("caption", names, asked=options.caption_column, where=where)
    require_distinct(image, captions, where=where)
    return image, captions


def require_distinct(image: str, captions: Sequence[str], *, where: str) -> None:
    """Refuse one column for both, which would make file names the captions.

    Raises:
        DataError: The image column is among the caption columns.
    """
    if image in captions:
        raise DataError(
            f"the column {image!r} is used for both the image and the caption",
            where=where,
            fix="name both: data.image_column and data.caption_column, or --image-column and"
            " --caption-column",
        )


def find_captions(names: Sequence[str], asked: str | None) -> tuple[str, ...]:
    """Return the caption columns in order; empty: there is none.

    They are the named one, or `caption_0` ... `caption_4`; unless one is named, a first without
    a number belongs to them, as in `caption`, `caption_2`, and in `caption`, `caption.1`, which
    pandas makes of two columns with one name.
    """
    return _find_captions(tuple(names), asked)


@lru_cache(maxsize=256)
def _find_captions(names: tuple[str, ...], asked: str | None) -> tuple[str, ...]:
    column = find_column(names, asked, usual=CAPTION_COLUMNS)
    if asked is not None and column is not None:
        return (column,)
    plain = asked if column is None else column
    stem = None if plain is None else plain.strip().lower()
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _NUMBERED.match(name.strip().lower())
        if match and (match["stem"] == stem if stem else match["stem"] in CAPTION_COLUMNS):
            numbered.setdefault(match["stem"], []).append((int(match["number"]), name))
    first = next(iter(numbered.values()), [])
    return (*([column] if column else []), *(name for _, name in sorted(first)))


def find_column(names: Sequence[str], asked: str | None, *, usual: Sequence[str]) -> str | None:
    """Return the requested column, else the first usual one; case and spaces are ignored."""
    by_key = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
    if asked is not None:
        return asked if asked in names else by_key.get(asked.strip().lower().replace(" ", "_"))
    return next((by_key[key] for key in usual if key in by_key), None)


def read_split(columns: Mapping[str, object]) -> Split | None:
    """Return the split that a row names in a column such as `split` or `subset`, or `None`."""
    name = _find_split_column(tuple(columns))
    value = None if name is None else columns[name]
    return parse_split(value) if isinstance(value, str) else None


@lru_cache(maxsize=64)
def _find_split_column(names: tuple[str, ...]) -> str | None:
    return find_column(names, None, usual=SPLIT_COLUMNS)


_TAKEN = frozenset(
    (*IMAGE_COLUMNS, *CAPTION_COLUMNS, "image_id", "id", "split", "group", "image_base64")
)
"""Columns whose values are part of a record."""

_MAX_DEPTH = 6
_WRITTEN_AS_TEXT = (date, time, timedelta, Decimal, UUID)


def find_extras(
    columns: Mapping[str, object], *, options: LoadOptions
) -> tuple[dict[str, object], list[str]]:
    """Return the columns other than image, captions, id, split and group.

    Dates, times and decimal numbers become texts.

    Returns:
        The columns that can be written as JSON, and the names of those that cannot.
    """
    named = (options.image_column, options.caption_column)
    extras: dict[str, object] = {}
    dropped: list[str] = []
    for given, value in columns.items():
        name = replace_half_letters(given)
        is_taken = name.strip().lower().replace(" ", "_") in _TAKEN
        if given in named or is_taken or find_captions([name], None):
            continue
        if isinstance(value, _WRITTEN_AS_TEXT):
            extras[name] = str(value)
        elif _is_plain(value):
            extras[name] = _as_unicode(value)
        else:
            dropped.append(name)
    return extras, dropped


def _as_unicode(value: object) -> object:
    if isinstance(value, str):
        return replace_half_letters(value)
    if isinstance(value, list | tuple):
        return [_as_unicode(item) for item in value]
    if isinstance(value, dict):
        return {replace_half_letters(key): _as_unicode(item) for key, item in value.items()}
    return value


def _is_plain(value: object, depth: int = 0) -> bool:
    """Return whether a value can be written as JSON."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, list | tuple):
        return all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v, depth + 1) for k, v in value.items())
    return value is None or isinstance(value, str | int | float | bool)


def _no_column(kind: str, names: Sequence[str], *, asked: str | None, where: str) -> DataError:
    what = f"no {kind} column" if asked is None else f"no column {asked!r} for the {kind}"
    return DataError(
        f"{what}; the columns are: {', '.join(names) or '(none)'}",
        where=where,
        fix=f"name it: data.{kind}_column, or --{kind}-column",
    )
