"""How a CSV file is written: lines before its header, its delimiter, spaces before quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from captune.data.images import IMAGE_SUFFIXES

_SEPARATOR = re.compile(r"""["']?sep=([,;|\t^:])["']?\s*$""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV file is written.

    Attributes:
        preamble: Number of lines before the header: blank ones, and `sep=;`, which Excel reads.
        delimiter: The character between cells.
        has_spaces: Whether quoted cells follow a delimiter and spaces, as in `1.jpg, "a dog"`.
    """

    preamble: int
    delimiter: str
    has_spaces: bool

    def open(self, lines: Iterable[str], *, strict: bool = True) -> Any:
        """Return the `csv.reader` of lines that begin after the preamble."""
        return csv.reader(
            lines, delimiter=self.delimiter, strict=strict, skipinitialspace=self.has_spaces
        )


def find_csv_form(head: Sequence[str], *, has_tabs: bool = False) -> CsvForm:
    """Return how a file with these first lines, each with its line end, is written.

    Args:
        head: The first lines.
        has_tabs: Whether the name of the file says that cells are separated by tabs.
    """
    preamble = _count_preamble(head)
    named = next((mark[1] for line in head[:preamble] if (mark := _SEPARATOR.match(line))), None)
    body = "".join(head[preamble:])
    if named is not None:
        delimiter = named
    elif has_tabs:
        delimiter = "\t"
    else:
        header = head[preamble] if preamble < len(head) else ""
        # Flickr30k's results.csv uses "| ". Without a header, the delimiter next to a file name
        # is chosen, because captions contain commas.
        delimiter = max(
            (",", "\t", ";", "|"),
            key=lambda mark: (names_image(header.split(mark)), header.count(mark)),
        )
    return CsvForm(preamble, delimiter, _has_spaces(body, delimiter))


def _count_preamble(lines: Sequence[str]) -> int:
    """Return how many lines precede the header: blank ones, and `sep=;`, which Excel reads."""
    number = 0
    while number < len(lines) and (not lines[number].strip() or _SEPARATOR.match(lines[number])):
        number += 1
    return number


def names_image(cells: Iterable[str]) -> bool:
    """Return whether a cell has the ending of an image file."""
    return any(PurePosixPath(cell.strip()).suffix.lower() in IMAGE_SUFFIXES for cell in cells)


def _has_spaces(head: str, delimiter: str) -> bool:
    if re.search(rf'{re.escape(delimiter)} +"', head) is None:
        return False
    try:
        # Without the quotes of whole cells, `a.jpg, "Stop" says a sign` is plain text.
        list(csv.reader(io.StringIO(head), delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        return False
    return True
