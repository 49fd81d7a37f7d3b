"""CSV and TSV: a header, an image column, a caption column.

A real CSV parser is used: split at commas, 2,540 of Flickr8k's 40,455 captions lose their end. A
table without a header is read too, where its first row names an image.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.names.image_finder import name_from_root
from captune.data.names.split_names import name_splits, parse_split
from captune.data.rows.columns import (
    IMAGE_COLUMNS,
    find_captions,
    find_column,
    find_columns,
    read_split,
)
from captune.data.rows.csv_form import CsvForm, find_csv_form
from captune.data.rows.gather import Row, gather_rows
from captune.data.rows.headerless import name_columns
from captune.data.rows.text import iter_lines, read_head
from captune.errors import DataError
from captune.records import Split
from captune.storage import list_visible

_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
_OTHER_COLUMNS = ("image_id", "group")
_ANY = LoadOptions()
_PROBED = 20
_MAX_CELL = 16_000_000


def find_table(place: Path, options: LoadOptions = _ANY) -> str | None:
    """Return the names of the tables at `place`, or `None`."""
    tables = list_tables(place, options)
    return ", ".join(path.name for path in tables) if tables else None


def read_table(place: Path, options: LoadOptions) -> LoadedData:
    """Read one table, or a folder of them, whose names or folders may give the splits.

    Raises:
        DataError: There is no table, a column is missing, or quoting is broken.
    """
    tables = [place] if place.is_file() else list_tables(place, options)
    if not tables and (options.image_column or options.caption_column):
        # The error then lists the columns of this table.
        tables = list_tables(place, options, any_columns=True)
    if not tables:
        raise DataError(
            f"no CSV or TSV with an image and a caption column in {place}",
            fix="name the columns: --image-column, --caption-column",
        )
    root = place.parent if place.is_file() else place
    notes: list[str] = []
    if place.is_dir():
        notes += _note_unread(place, tables, options)
    splits = name_splits(tables, root=root, notes=notes)
    rows = (
        row
        for path, split in zip(tables, splits, strict=True)
        for row in iter_table_rows(path, options=options, notes=notes, root=root, split=split)
    )
    return gather_rows(
        rows,
        options,
        format="table",
        root=root,
        folders=(options.image_root,) if options.image_root else None,
        notes=notes,
    )


def list_tables(
    place: Path, options: LoadOptions = _ANY, *, any_columns: bool = False
) -> list[Path]:
    """Return the tables at a place: the file itself, or those in the folder or its split folders.

    Args:
        place: File or folder.
        options: May name the columns.
        any_columns: Include tables whose columns have unusual names.
    """
    if place.is_file():
        return [place] if is_table(place, options, any_columns=any_columns) else []
    tables = _list_folder(place, options, any_columns=any_columns)
    if not tables:
        below = (path for path in list_visible(place) if parse_split(path.name))
        return [
            path
            for folder in below
            if folder.is_dir()
            for path in _list_folder(folder, options, any_columns=any_columns)
        ]
    splits = [path for path in tables if parse_split(path.stem) is not None]
    # The table that train.csv, val.csv and test.csv were cut from is often still there; reading
    # it too would give each image its captions twice. Beside a test.csv alone, the other tables
    # are the only ones to train on.
    has_train = any(parse_split(path.stem) == "train" for path in splits)
    return splits if has_train else tables


def _list_folder(folder: Path, options: LoadOptions, *, any_columns: bool) -> list[Path]:
    paths = list_visible(folder)
    return [path for path in paths if is_table(path, options, any_columns=any_columns)]


def _note_unread(place: Path, read: list[Path], options: LoadOptions) -> list[str]:
    others = _list_folder(place, options, any_columns=False)
    names = [path.name for path in others if path not in read]
    if not names:
        return []
    return [f"not read, because the splits have tables of their own: {', '.join(names)}"]


def is_table(path: Path, options: LoadOptions = _ANY, *, any_columns: bool = False) -> bool:
    """Return whether a file has an image and a caption column, or a first row with an image."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    head = read_head(path)
    header = read_header(head, path=path)
    if any_columns:
        return len(header) > 1
    if (
        find_column(header, options.image_column, usual=IMAGE_COLUMNS) is not None
        and find_captions(header, options.caption_column) != ()
    ):
        return True
    return _name_columns(list(io.StringIO(head)), path=path, options=options) is not None


def read_header(text: str, *, path: Path) -> list[str]:
    """Return the column names of a table, without surrounding spaces."""
    lines = list(io.StringIO(text))
    form = _find_form(lines, path)
    try:
        return [name.strip() for name in next(form.open(lines[form.preamble :], strict=False), [])]
    except csv.Error:
        return []


def _find_form(head: Sequence[str], path: Path) -> CsvForm:
    return find_csv_form(head, has_tabs=path.suffix.lower() in (".tsv", ".tab"))


def iter_table_rows(
    path: Path,
    *,
    options: LoadOptions,
    notes: list[str],
    root: Path | None = None,
    split: Split | None = None,
) -> Iterator[Row]:
    """Yield the rows of one table, one caption each.

    Args:
        path: The table.
        options: May name the columns.
        notes: A sentence is appended when the table has no header.
        root: Folder of the data set, when the table may be in a folder below it.
        split: The split of rows that do not name one.

    Raises:
        DataError: A column is missing, or quoting is broken; the line is named.
    """
    lines = iter_lines(path, notes=notes)
    head = list(islice(lines, _PROBED))
    form = _find_form(head, path)
    columns = _name_columns(head, path=path, options=options)
    header = columns or read_header("".join(head), path=path)
    if columns:
        notes.append(
            f"{path.name} has no header: its first row names an image and is read as data"
            f" ({', '.join(columns)})"
        )
    image, captions = find_columns(header, options=options, where=str(path))
    _refuse_twins(header, (image, *captions), path=path)
    others = {name: find_column(header, None, usual=(name,)) or name for name in _OTHER_COLUMNS}
    reader = form.open(chain(head[form.preamble :], lines))
    for number, (line, cells) in enumerate(_read_cells(reader, path=path, preamble=form.preamble)):
        if (number == 0 and not columns) or not any(cell.strip() for cell in cells):
            continue
        row = _make_row(
            _pair(header, cells, path=path, line=line),
            image=image,
            captions=captions,
            others=others,
            split=split,
        )
        row = replace(row, where=f"{path}, line {line}")
        yield row if root is None else _name_from_root(row, path, root=root, options=options)


def _name_from_root(row: Row, path: Path, *, root: Path, options: LoadOptions) -> Row:
    base = options.image_root or root
    return replace(row, name=name_from_root(row.name, path.parent, root=root, base=base))


def _read_cells(reader: Any, *, path: Path, preamble: int) -> Iterator[tuple[int, list[str]]]:
    last = preamble
    # Python's own limit, 128 KiB, is less than the outlines of objects that some tables hold.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    try:
        for cells in reader:
            last = preamble + reader.line_num
            yield last, cells
    except csv.Error as error:
        # A quote that is never closed swallows the rest of the file, so name where it opens.
        begin, end = last + 1, preamble + reader.line_num
        is_long = "field limit" in str(error)
        raise DataError(
            f"a cell of more than {_MAX_CELL:,} characters" if is_long else f"broken CSV: {error}",
            where=f"{path}, line {begin}" if begin == end else f"{path}, lines {begin} to {end}",
            fix="close the quote that begins there, or remove the column"
            if is_long
            else "quote captions that hold the separator or a quote, doubling quotes inside",
        ) from error


def _name_columns(
    head: Sequence[str], *, path: Path, options: LoadOptions
) -> tuple[str, ...] | None:
    """Return names for the columns of a table without a header; `None` when it has one."""
    form = _find_form(head, path)
    lines = [line for line in head[form.preamble : _PROBED] if line.strip()]
    if not lines:
        return None
    try:
        rows = list(form.open(lines, strict=False))
    except csv.Error:
        return None
    return name_columns(rows, folder=path.parent, options=options)


def _refuse_twins(header: Sequence[str], used: tuple[str, ...], *, path: Path) -> None:
    twin = next((name for name in used if header.count(name) > 1), None)
    if twin is not None:
        raise DataError(
            f"{header.count(twin)} columns are called {twin!r}: which one is meant?",
            where=str(path),
            fix="rename them; caption_0, caption_1 and so on are read together",
        )


def _pair(header: Sequence[str], cells: list[str], *, path: Path, line: int) -> dict[str, str]:
    if len(cells) > len(header) and not any(cells[len(header) :]):
        # Spreadsheets and some writers end each row with a separator.
        cells = cells[: len(header)]
    if len(cells) > len(header):
        raise DataError(
            f"{len(cells)} cells under {len(header)} columns: {cells[-1][:60]!r} has no column",
            where=f"{path}, line {line}",
            fix="quote captions that hold the separator",
        )
    # A row that is too short (Flickr30k's results.csv has one) gets empty cells at its end.
    padded = cells + [""] * (len(header) - len(cells))
    return dict(zip(header, padded, strict=True))


def _make_row(
    cells: dict[str, str],
    *,
    image: str,
    captions: tuple[str, ...],
    others: dict[str, str],
    split: Split | None,
) -> Row:
    own = {name: cells.get(column, "").strip() for name, column in others.items()}
    return Row(
        name=cells[image].strip(),
        captions=tuple(cells[name] for name in captions),
        image_id=own["image_id"] if image != others["image_id"] else "",
        split=read_split(cells) or split,
        group=own["group"] or None,
        columns=cells,
    )
