"""A prediction as one JSON object or one line of a spreadsheet.

`captune score --predictions` reads these rows.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping

from captune.records import Prediction
from captune.text_safety import escape_cell, unescape_cell

_MAX_NUMBER = 2**31

Row = Mapping[str, object]

COLUMNS = ("image_id", "caption", "mean_logprob", "num_tokens", "finish_reason", "flags")


def prediction_row(prediction: Prediction) -> dict[str, object]:
    """Return the fields of a prediction by name; a non-finite log-probability becomes `None`."""
    logprob = prediction.mean_logprob
    return {
        "image_id": prediction.image_id,
        "caption": prediction.caption,
        "mean_logprob": logprob if math.isfinite(logprob) else None,
        "num_tokens": prediction.num_tokens,
        "finish_reason": prediction.finish_reason,
        "flags": list(prediction.flags),
    }


def to_prediction(row: Row) -> Prediction:
    """Return the prediction of a row; only `image_id` and `caption` are required.

    Numbers that no model gives, such as one of a thousand digits, count as missing.

    Raises:
        KeyError: One of them is missing.
    """
    logprob, flags, num_tokens = row.get("mean_logprob"), row.get("flags"), row.get("num_tokens")
    return Prediction(
        image_id=str(row["image_id"]),
        caption=str(row["caption"]),
        mean_logprob=float(logprob)
        if isinstance(logprob, int | float) and _is_near(logprob)
        else math.nan,
        num_tokens=num_tokens if isinstance(num_tokens, int) and _is_near(num_tokens) else 0,
        finish_reason="length" if row.get("finish_reason") == "length" else "eos",
        flags=tuple(map(str, flags)) if isinstance(flags, list | tuple) else (),
    )


def _is_near(value: float) -> bool:
    return abs(value) < _MAX_NUMBER


def csv_text(rows: Iterable[Row], *, with_header: bool) -> str:
    """Return rows as CSV; cells that a spreadsheet would run as formulas get an apostrophe."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    # Python before 3.13 does not quote a carriage return, which readers treat as the end of a row.
    quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if with_header:
        plain.writerow(COLUMNS)
    for row in rows:
        cells = [_cell(row.get(name)) for name in COLUMNS]
        writer = quoted if any("\r" in str(cell) for cell in cells) else plain
        writer.writerow(cells)
    return text.getvalue()


def parse_csv(text: str) -> list[dict[str, object]]:
    """Return the rows of `csv_text`, without the added apostrophes.

    Raises:
        ValueError: The text has other columns, or invalid numbers.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if reader.fieldnames is not None and tuple(reader.fieldnames) != COLUMNS:
        raise ValueError(f"columns are not {', '.join(COLUMNS)}")
    return [
        {
            "image_id": unescape_cell(cells["image_id"]),
            "caption": unescape_cell(cells["caption"]),
            "mean_logprob": float(cells["mean_logprob"]) if cells["mean_logprob"] else None,
            "num_tokens": int(cells["num_tokens"]),
            "finish_reason": cells["finish_reason"],
            "flags": cells["flags"].split(),
        }
        for cells in reader
    ]


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, str):
        return escape_cell(value)
    return "" if value is None else value
