"""Filters that keep the rows whose columns match `data.filters`, such as `corrupted: 0`.

Filters are texts, because a recipe, a shell and a CSV hold texts; numbers compare by value, true
equals 1, and a list in the data matches when it contains one of the values.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from captune.errors import DataError
from captune.records import SPLITS, Split
from captune.suggest import did_you_mean, format_count

_MAX_VALUES = 6
_MAX_DEPTH = 8


class RowFilter:
    """Decides row by row, and reports at the end what it skipped.

    Args:
        wanted: Column -> the values that are kept.
    """

    def __init__(self, wanted: Mapping[str, str | Sequence[str]]) -> None:
        self._wanted = {
            column: (values,) if isinstance(values, str) else tuple(values)
            for column, values in wanted.items()
        }
        self._columns: dict[str, None] = {}
        self._values: dict[str, Counter[str]] = {column: Counter() for column in wanted}
        self._kept: dict[Split | None, None] = {}
        self._dropped: dict[str, Split | None] = {}

    def keeps(self, name: str, columns: Mapping[str, object], *, split: Split | None) -> bool:
        """Return whether an image's row with these columns is used."""
        if not self._wanted:
            return True
        self._columns.update(dict.fromkeys(columns))
        is_kept = True
        for column, values in self._wanted.items():
            if column not in columns:
                is_kept = False
                continue
            self._values[column][_show(columns[column])] += 1
            is_kept = is_kept and _holds(columns[column], values)
        if is_kept:
            self._kept[split] = None
        else:
            self._dropped.setdefault(name, split)
        return is_kept

    def conclude(self, used: Iterable[str], *, format: str, is_whole: bool) -> list[str]:
        """Return a sentence about the skipped images; an empty list when there are none.

        Args:
            used: Names of the images kept: a table may drop one caption and keep another.
            format: Name of the format, for the error.
            is_whole: Whether all rows were read: only then is a split known to be empty.

        Raises:
            DataError: No row has the column, or no image, or none of a split, is left.
        """
        if not self._wanted or not (self._columns or self._dropped):
            return []
        self._require_columns(format)
        dropped = {name: self._dropped[name] for name in self._dropped.keys() - set(used)}
        emptied = [split for split in SPLITS if split in dropped.values()]
        emptied = [split for split in emptied if split not in self._kept]
        if not self._kept:
            raise self._nothing_left(
                f"no image passes the filters: {format_count(len(dropped), 'image')} skipped"
            )
        if emptied and is_whole:
            number = sum(split == emptied[0] for split in dropped.values())
            raise self._nothing_left(
                f"no image of {emptied[0]} passes the filters: {format_count(number, 'image')}"
                " skipped, and the split would be empty"
            )
        return (
            [f"filters ({self._describe()}) skipped {format_count(len(dropped), 'image')}"]
            if dropped
            else []
        )

    def _require_columns(self, format: str) -> None:
        for column, values in self._values.items():
            if not values and not self._columns:
                raise DataError(
                    f"the format {format} has no columns to filter by",
                    where=f"data.filters.{column}",
                    fix="remove the filter, or give the data as JSONL or CSV with that column",
                )
            if not values:
                require_column(column, self._columns)

    def _nothing_left(self, what: str) -> DataError:
        there = []
        for column, values in self._values.items():
            counted = [
                f"{value!r} ({format_count(n, 'row')})"
                for value, n in values.most_common(_MAX_VALUES)
            ]
            more = len(values) - len(counted)
            there.append(f"{column} is {', '.join(counted)}{f' and {more} more' * bool(more)}")
        return DataError(
            f"{what}: {self._describe()}",
            where="; ".join(there),
            fix="loosen data.filters, or --filter",
        )

    def _describe(self) -> str:
        return ", ".join(f"{name}: {' or '.join(kept)}" for name, kept in self._wanted.items())


def require_column(column: str, there: Iterable[str]) -> None:
    """Refuse a filter on a column that does not exist.

    Raises:
        DataError: It does not exist; the nearest name and all columns are listed.
    """
    names = list(there)
    if column not in names:
        raise DataError(
            f"no column {column!r} to filter by{did_you_mean(column, names)};"
            f" the columns are: {', '.join(names)}",
            where=f"data.filters.{column}",
            fix="correct the name of the column in data.filters, or --filter",
        )


def _holds(value: object, wanted: Sequence[str]) -> bool:
    spelled = _spell(value)
    return any(_equal(text, kept) for text in spelled for kept in wanted)


def _spell(value: object, depth: int = 0) -> tuple[str, ...]:
    if value is None:
        return ("",)
    if isinstance(value, bool):
        return ("true", "1") if value else ("false", "0")
    if depth > _MAX_DEPTH:
        return ()
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in _spell(item, depth + 1))
    return (str(value).strip(),)


def _equal(text: str, wanted: str) -> bool:
    if text.casefold() == wanted.strip().casefold():
        return True
    if "_" in text or "_" in wanted:
        # Python reads 1_0 as 10, and an id is not a number.
        return False
    try:
        return float(text) == float(wanted)
    except ValueError:
        return False


def _show(value: object) -> str:
    return reprlib.repr(value) if isinstance(value, list | tuple) else f"{value!s:.40}"
