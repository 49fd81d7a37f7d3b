"""A prediction as one JSON object or one line of a spreadsheet.

`captune score --predictions` reads these rows.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping

from captune.records import Prediction

Row = Mapping[str, object]

COLUMNS = ("image_id", "caption", "mean_logprob", "num_tokens", "finish_reason", "flags")

# OWASP, "CSV injection": what a spreadsheet takes for the start of a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def prediction_row(prediction: Prediction) -> dict[str, object]:
    """The fields of a prediction by name; a log-probability that is not finite becomes null."""
    logprob = prediction.mean_logprob
    return {
        "image_id": prediction.image_id,
        "caption": prediction.caption,
        "mean_logprob": logprob if math.isfinite(logprob) else None,
        "num_tokens": prediction.num_tokens,
        "finish_reason": prediction.finish_reason,
        "flags": list(prediction.flags),
    }


def csv_text(rows: Iterable[Row], *, with_header: bool) -> str:
    """Rows as CSV that no spreadsheet takes for formulas: those cells start with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if with_header:
        writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(_cell(row.get(name)) for name in COLUMNS)
    return text.getvalue()


def parse_csv(text: str) -> list[dict[str, object]]:
    """Rows of `csv_text`, the added apostrophes taken off."""
    rows: list[dict[str, object]] = []
    for cells in csv.DictReader(io.StringIO(text, newline="")):
        row: dict[str, object] = {name: _plain(cells.get(name) or "") for name in COLUMNS}
        row["flags"] = str(row["flags"]).split()
        rows.append(row)
    return rows


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell
