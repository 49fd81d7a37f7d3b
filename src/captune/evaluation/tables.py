"""Tables of text in four styles: aligned columns, Markdown, LaTeX (booktabs) and CSV.

Names in a table come from files and users. Each style escapes them, so that a name can neither
break the table nor run as a formula or a macro.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from captune.text_safety import (
    clean_text,
    escape_cell,
    escape_latex,
    escape_markdown,
    escape_terminal,
)

TableStyle = Literal["plain", "markdown", "latex", "csv"]


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text.

    Attributes:
        header: Titles of the columns.
        rows: Cells, as many in each row as there are titles.
        text_columns: The first columns, which hold names; the others hold formatted numbers.
        note: One line below the table, such as a signature; a CSV file has none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    note: str = ""


def render_table(table: TextTable, style: TableStyle) -> str:
    """Return the table as text; it ends without a line break."""
    writers = {
        "plain": _write_plain,
        "markdown": _write_markdown,
        "latex": _write_latex,
        "csv": _write_csv,
    }
    return writers[style](table)


def _write_plain(table: TextTable) -> str:
    # Wide letters, such as Chinese ones, take two cells of a terminal.
    from rich.cells import cell_len

    lines = [[escape_terminal(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = []
        for place, cell in enumerate(line):
            space = " " * (widths[place] - cell_len(cell))
            cells.append(cell + space if place < table.text_columns else space + cell)
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, *([escape_terminal(table.note)] if table.note else [])])


def _write_markdown(table: TextTable) -> str:
    header = [escape_markdown(title) for title in table.header]
    rules = ["---" if place < table.text_columns else "---:" for place in range(len(table.header))]
    rows = [
        [escape_markdown(c) if i < table.text_columns else c for i, c in enumerate(row)]
        for row in table.rows
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (header, rules, *rows)]
    note = clean_text(table.note).replace("`", "'")
    return "\n".join([*lines, *(["", f"`{note}`"] if note else [])])


def _write_latex(table: TextTable) -> str:
    columns = "".join("l" if i < table.text_columns else "r" for i in range(len(table.header)))
    header, *rows = (
        " & ".join(map(escape_latex, row)) + r" \\" for row in (table.header, *table.rows)
    )
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *([f"% {clean_text(table.note)}"] if table.note else []),
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _write_csv(table: TextTable) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([escape_cell(title) for title in table.header])
    for row in table.rows:
        writer.writerow(
            # A negative number is not a formula.
            [escape_cell(c) if i < table.text_columns else c for i, c in enumerate(row)]
        )
    return buffer.getvalue().removesuffix("\n")
