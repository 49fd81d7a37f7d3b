"""CSV and TSV: a header, a column with the image, a column with one caption.

Read with a real CSV reader: cut at the first comma, 2,540 of Flickr8k's 40,455 captions lose
their end.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.rows.columns import (
    IMAGE_COLUMNS,
    find_captions,
    find_column,
    find_columns,
)
from captune.data.rows.gather import Row, gather_rows, parse_split
from captune.data.rows.text import read_head, read_text
from captune.errors import DataError
from captune.records import Split

_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
_OTHER_COLUMNS = ("image_id", "split", "group")


def find_table(place: Path) -> str | None:
    """What makes `place` a table, or a folder of tables; `None` when it is none."""
    tables = list_tables(place)
    return ", ".join(path.name for path in tables) if tables else None


def read_table(place: Path, options: LoadOptions) -> LoadedData:
    """Read one table, or a folder of them, where `train.csv`, `val.csv`, `test.csv` are splits.

    Raises:
        DataError: No table, no such column, or broken quoting.
    """
    named = options.image_column is not None and options.caption_column is not None
    tables = [place] if place.is_file() else list_tables(place, any_columns=named)
    if not tables:
        raise DataError(
            f"no CSV or TSV with an image and a caption column in {place}",
            fix="name the columns: --image-column, --caption-column",
        )
    root = place.parent if place.is_file() else place
    notes: list[str] = []
    if place.is_dir():
        notes += _note_unread(place, tables, any_columns=named)
    rows = (row for path in tables for row in iter_table_rows(path, options=options, notes=notes))
    return gather_rows(
        rows,
        options,
        format="table",
        root=root,
        folders=(options.image_root,) if options.image_root else None,
        notes=notes,
    )


def list_tables(place: Path, *, any_columns: bool = False) -> list[Path]:
    """Tables at a place: the file itself, or those in the folder.

    Args:
        place: File or folder.
        any_columns: Also tables whose columns have unusual names.
    """
    if place.is_file():
        return [place] if is_table(place, any_columns=any_columns) else []
    tables = [path for path in sorted(place.iterdir()) if is_table(path, any_columns=any_columns)]
    splits = [path for path in tables if parse_split(path.stem) is not None]
    # Beside train.csv, val.csv and test.csv often lies the table that they were cut from; read
    # too, it would give each image its captions twice.
    return splits or tables


def _note_unread(place: Path, read: list[Path], *, any_columns: bool) -> list[str]:
    others = [path for path in sorted(place.iterdir()) if is_table(path, any_columns=any_columns)]
    names = [path.name for path in others if path not in read]
    return [f"not read beside the tables of the splits: {', '.join(names)}"] if names else []


def is_table(path: Path, *, any_columns: bool = False) -> bool:
    """Whether a file has a header with an image and a caption column."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    header = read_header(read_head(path), path=path)
    if any_columns:
        return len(header) > 1
    return (
        find_column(header, None, usual=IMAGE_COLUMNS) is not None
        and find_captions(header, None) != ()
    )


def read_header(text: str, *, path: Path) -> list[str]:
    """Column names of a table, without blanks around them."""
    first = next(csv.reader(io.StringIO(text), delimiter=find_delimiter(text, path=path)), [])
    return [name.strip() for name in first]


def find_delimiter(text: str, *, path: Path) -> str:
    """Tab, semicolon, bar or comma: whichever the header line holds most of."""
    header = text.split("\n", 1)[0]
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    # Flickr30k's results.csv separates with "| ".
    return max((",", "\t", ";", "|"), key=header.count)


def iter_table_rows(path: Path, *, options: LoadOptions, notes: list[str]) -> Iterator[Row]:
    """Rows of one table, one caption each.

    Raises:
        DataError: No such column, or broken quoting; the line is named.
    """
    text = read_text(path, notes=notes)
    delimiter = find_delimiter(text, path=path)
    header = read_header(text, path=path)
    image, captions = find_columns(header, options=options, where=str(path))
    _refuse_twins(header, (image, *captions), path=path)
    others = {name: find_column(header, None, usual=(name,)) or name for name in _OTHER_COLUMNS}
    file_split = parse_split(path.stem)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    last = 0
    try:
        for number, cells in enumerate(reader):
            last = reader.line_num
            if number == 0 or not any(cell.strip() for cell in cells):
                continue
            yield _make_row(
                _pair(header, cells, path=path, line=last),
                image=image,
                captions=captions,
                others=others,
                split=file_split,
            )
    except csv.Error as error:
        # A quote that is never closed swallows all that follows: where it opens is what helps.
        begin, end = last + 1, reader.line_num
        raise DataError(
            f"broken CSV: {error}",
            where=f"{path}, line {begin}" if begin == end else f"{path}, lines {begin} to {end}",
            fix="quote captions that hold the separator or a quote, doubling quotes inside",
        ) from error


def _refuse_twins(header: list[str], used: tuple[str, ...], *, path: Path) -> None:
    twin = next((name for name in used if header.count(name) > 1), None)
    if twin is not None:
        raise DataError(
            f"{header.count(twin)} columns are called {twin!r}: which one is meant?",
            where=str(path),
            fix="rename them; caption_0, caption_1 and so on are read together",
        )


def _pair(header: list[str], cells: list[str], *, path: Path, line: int) -> dict[str, str]:
    if len(cells) > len(header):
        raise DataError(
            f"{len(cells)} cells under {len(header)} columns: {cells[-1][:60]!r} is too many",
            where=f"{path}, line {line}",
            fix="quote captions that hold the separator",
        )
    # A row cut short (Flickr30k's results.csv has one) has empty cells at its end.
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
        split=parse_split(own["split"]) or split,
        group=own["group"] or None,
        columns=cells,
    )
