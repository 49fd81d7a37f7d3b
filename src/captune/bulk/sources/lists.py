"""Lists of images: a name per line, names ended by NUL as `find -print0` writes them, JSON or CSV.

Names are relative to the current folder, as in other tools, and may contain any bytes.
"""

from __future__ import annotations

import codecs
import csv
import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Literal

from captune.errors import CHECK_DISK, DataError
from captune.storage import expand_home, find_encoding
from captune.text_safety import unescape_cell

ListFormat = Literal["lines", "null", "jsonl", "csv"]

STDIN = "-"

_MAX_NAME_BYTES = 64 * 1024
"""Maximum length of a name, far beyond that of every file system."""
_MAX_ROW_BYTES = 2**20
_ID_COLUMNS = ("image_id", "url", "image_url")
_PIECE_BYTES = 2**16
_PROBED = 20
"""Maximum number of lines from which the form of a CSV file is found."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a list.

    Attributes:
        text: Path or URL as written in the list; bytes that are not UTF-8 are surrogates.
        where: The list and the line, for errors.
    """

    text: str
    where: str


def read_list(place: str, form: ListFormat, *, column: str | None = None) -> Iterator[Listed]:
    """Return the entries of a list in order, read as needed.

    Args:
        place: A file or a pipe, or `-` for stdin.
        form: Its format.
        column: Column or key of the image in CSV and JSON lines; `None`: found by its usual names.

    Raises:
        DataError: It cannot be opened, raised at once; or a line is broken or too long.
    """
    read = _READERS[form]
    if place == STDIN:
        if sys.stdin is None:
            # Python gives none to a process that was started without one: `<&-`, some services.
            raise DataError(
                "there is no stdin to read the list from", where="--from", fix="give a file"
            )
        return read(sys.stdin.buffer, "stdin", column)
    path = expand_home(place)
    try:
        # A pipe is fine: `--from <(find ...)`.
        file = path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"cannot read the list {place}: {reason}", where="--from", fix="check the path"
        ) from error
    return _read_and_close(file, read, place=place, column=column)


def _read_and_close(
    file: IO[bytes], read: _Reader, *, place: str, column: str | None
) -> Iterator[Listed]:
    with file:
        yield from read(file, place, column)


def _read_lines(file: IO[bytes], place: str, _column: str | None) -> Iterator[Listed]:
    for number, line in _iter_lines(file, place, _MAX_NAME_BYTES):
        name = line.removesuffix(b"\n").removesuffix(b"\r")
        if b"\0" in name:
            raise DataError(
                "the names of the list end with NUL, as `find -print0` writes them",
                where=f"{place}, line {number}",
                fix="add --from-format null",
            )
        if name.strip():
            yield Listed(os.fsdecode(name), f"{place}, line {number}")


def _read_null(file: IO[bytes], place: str, _column: str | None) -> Iterator[Listed]:
    number, rest = 0, b""
    pieces = iter(functools.partial(_read_piece, file.read, place, size=_PIECE_BYTES), b"")
    first = next(pieces, b"")
    encoding = find_encoding(first).removesuffix("-sig")
    if encoding != "utf-8":
        # Half of the bytes of its letters are NUL.
        raise DataError(
            f"the list is in {encoding.upper()}, in which names cannot end with NUL",
            where=place,
            fix="save it as UTF-8, or write a name per line and use --from-format lines",
        )
    for piece in chain([first.removeprefix(codecs.BOM_UTF8)], pieces):
        *names, rest = (rest + piece).split(b"\0")
        for name in names:
            number += 1
            if name:
                yield Listed(os.fsdecode(name), f"{place}, entry {number}")
        if len(rest) > _MAX_NAME_BYTES:
            raise _too_long(place, f"entry {number + 1}", fix="use --from-format lines")
    if rest:
        yield Listed(os.fsdecode(rest), f"{place}, entry {number + 1}")


def _read_jsonl(file: IO[bytes], place: str, column: str | None) -> Iterator[Listed]:
    for number, line in _iter_lines(file, place, _MAX_ROW_BYTES):
        where = f"{place}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"a line is not JSON: {error}", where=where, fix="fix that line"
            ) from error
        if isinstance(row, str):
            row = {"image": row}
        if not isinstance(row, dict):
            raise DataError(
                f"a line is not a JSON object: {line[:60]!r}",
                where=where,
                fix='write one name or object per line: "a.jpg" or {"image": "a.jpg"}',
            )
        key = _choose_column(list(row), column, where=where)
        value = row[key].get("path") if isinstance(row[key], dict) else row[key]
        if not isinstance(value, str) or not value:
            raise DataError(
                f"{key!r} does not name an image: {value!r}",
                where=where,
                fix="write the image's path as text, or name another column: --image-column",
            )
        yield Listed(value, where)


def _read_csv(file: IO[bytes], place: str, column: str | None) -> Iterator[Listed]:
    from captune.data import find_csv_form

    lines = (
        line.decode("utf-8", "surrogateescape")
        for _, line in _iter_lines(file, place, _MAX_ROW_BYTES)
    )
    head = _read_head(lines)
    form = find_csv_form(head)
    reader = form.open(chain(head[form.preamble :], lines))
    try:
        first: list[str] = next(reader, [])
        where = f"{place}, line {form.preamble + reader.line_num}"
        key = _find_unnamed(first, column)
        rows = reader if key is None else chain([first], reader)
        if key is None:
            key = first.index(_choose_column(first, column, where=where))
        for cells in rows:
            where = f"{place}, line {form.preamble + reader.line_num}"
            if len(cells) > key and cells[key].strip():
                yield Listed(unescape_cell(cells[key]), where)
    except csv.Error as error:
        raise DataError(
            f"broken CSV: {error}",
            where=f"{place}, line {form.preamble + reader.line_num}",
            fix="end lines with a line feed, and quote cells that hold the separator or a quote,"
            " doubling quotes inside",
        ) from error


def _read_head(lines: Iterator[str]) -> list[str]:
    """Return the first lines up to that of the second row: a program may still write the others."""
    from captune.data import find_csv_form

    head: list[str] = []
    for line in islice(lines, _PROBED):
        head.append(line)
        if len(head) > find_csv_form(head).preamble + 1:
            break
    return head


def _find_unnamed(first: Sequence[str], asked: str | None) -> int | None:
    """Return the place of the image's cell if the first row is data; `None` if it is a header.

    As in data sets, columns without names are numbered from 1.
    """
    from captune.data import names_image

    if not names_image(first) or _find_named(first, asked) is not None:
        return None
    if asked is None:
        return next(place for place, cell in enumerate(first) if names_image([cell]))
    return int(asked) - 1 if asked in map(str, range(1, len(first) + 1)) else None


def _choose_column(names: Sequence[str], asked: str | None, *, where: str) -> str:
    found = _find_named(names, asked)
    if found is None:
        what = "no column names an image" if asked is None else f"no column {asked!r}"
        raise DataError(
            f"{what}; the columns are: {', '.join(names) or '(none)'}",
            where=where,
            fix="name it: --image-column",
        )
    return found


def _find_named(names: Sequence[str], asked: str | None) -> str | None:
    from captune.data import IMAGE_COLUMNS, find_column

    return find_column(names, asked, usual=(*IMAGE_COLUMNS, *_ID_COLUMNS))


def _iter_lines(file: IO[bytes], place: str, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield lines in UTF-8 with their numbers, without a byte-order mark.

    Lists that Windows PowerShell writes are in UTF-16.
    """
    pieces = iter(functools.partial(_read_piece, file.readline, place, size=limit + 1), b"")
    first = next(pieces, b"")
    encoding = find_encoding(first).removesuffix("-sig")
    lines: Iterator[bytes] = chain([first.removeprefix(codecs.BOM_UTF8)], pieces)
    if encoding != "utf-8":
        lines = _recode(lines, encoding, place=place, limit=limit)
    for number, line in enumerate(lines, start=1):
        if len(line) > limit:
            raise _too_long(
                place, f"line {number}", fix="check --from-format and the tool that wrote it"
            )
        yield number, line


def _read_piece(read: Callable[[int], bytes], place: str, *, size: int) -> bytes:
    try:
        return read(size)
    except OSError as error:
        raise DataError(
            f"cannot read the list {place}: {error.strerror or error}",
            fix=CHECK_DISK,
        ) from error


def _recode(pieces: Iterable[bytes], encoding: str, *, place: str, limit: int) -> Iterator[bytes]:
    """Yield lines in UTF-8 from pieces in another encoding, which may end inside a character."""
    rest = ""
    try:
        for text in codecs.iterdecode(pieces, encoding):
            *lines, rest = (rest + text).split("\n")
            yield from (f"{line}\n".encode() for line in lines)
            if len(rest) > limit:
                break
    except UnicodeDecodeError as error:
        raise DataError(
            f"the list {place} begins as {encoding.upper()}, but is not", fix="save it as UTF-8"
        ) from error
    if rest:
        yield rest.encode()


def _too_long(place: str, where: str, *, fix: str) -> DataError:
    return DataError(
        "an entry of the list is too long to name an image", where=f"{place}, {where}", fix=fix
    )


_Reader = Callable[[IO[bytes], str, str | None], Iterator[Listed]]
_READERS: dict[ListFormat, _Reader] = {
    "lines": _read_lines,
    "null": _read_null,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
}
