"""The captions of a row: a text, a list of texts, or objects that hold them, in any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from captune.caption_cells import NotTextError, is_empty_list, list_texts, read_list_cell
from captune.errors import DataError


def read_columns(
    row: Mapping[str, object], columns: Sequence[str], *, where: str
) -> tuple[str, ...]:
    """Return the captions in the caption columns of a row, in their order.

    Raises:
        DataError: A value is not text; the column is named.
    """
    return tuple(
        text for name in columns for text in read_captions(row[name], where=where, column=name)
    )


def read_captions(value: object, *, where: str, column: str = "") -> tuple[str, ...]:
    """Return captions from a text, a list of texts, or a list of objects with `raw`, `text`, ...

    Args:
        value: The value of a cell; null and NaN are an empty caption.
        where: File and row, for errors.
        column: Name of the column, for errors.

    Raises:
        DataError: It is something else.
    """
    try:
        return list_texts(value)
    except NotTextError as error:
        raise not_text(error, where=where, column=column) from error


def open_cell(text: str, *, where: str, columns: Mapping[str, object]) -> tuple[str, ...] | None:
    """Return the captions of a list or an object written as text; `None`: any other text.

    Args:
        text: A cell.
        where: File and row, for errors.
        columns: All cells of the row, which name the column in errors.

    Raises:
        DataError: It holds values that are not captions.
    """
    try:
        texts = read_list_cell(text)
    except NotTextError as error:
        column = next((name for name, value in columns.items() if _holds(value, text)), "")
        raise not_text(error, where=where, column=column, is_written=True) from error
    return ("",) if texts is None and is_empty_list(text) else texts


def _holds(value: object, text: str) -> bool:
    return value == text or (isinstance(value, list) and text in value)


def not_text(
    error: NotTextError, *, where: str, column: str = "", is_written: bool = False
) -> DataError:
    """Return the error for a cell that is not a caption.

    Args:
        error: What is wrong with the value.
        where: File and row.
        column: Name of the column; empty: unknown.
        is_written: Whether the value is written as text.
    """
    place = ", ".join(filter(None, (where, column and f"column {column!r}")))
    written = " (written as text)" * is_written
    return DataError(f"{error.what}{written}", where=place, fix=error.fix)
