"""Predictions on disk: JSONL, one line per image, with the fields of a `Prediction`.

`captune score --predictions` reads the same file, so that a score can be checked separately.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captune.errors import DataError
from captune.inference.prediction_rows import prediction_row
from captune.records import Prediction
from captune.storage import read_json_objects, write_jsonl

_WRITE_AGAIN = "write them again: captune run RECIPE --from evaluate"


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions as JSONL, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    write_jsonl(path, (prediction_row(prediction) for prediction in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Return the predictions that `write_predictions` wrote.

    Raises:
        DataError: The file is missing, a line is not a prediction, or an image appears twice.
    """
    if not path.is_file():
        raise DataError(
            f"there are no predictions at {path}",
            fix="run the stage that writes them: captune run RECIPE --only evaluate",
        )
    seen: set[str] = set()
    predictions = []
    for number, row in enumerate(read_json_objects(path, fix=_WRITE_AGAIN), start=1):
        prediction = _from_row(row, where=f"{path}, line {number}")
        if prediction.image_id in seen:
            raise DataError(
                f"image {prediction.image_id} has two predictions",
                where=f"{path}, line {number}",
                fix="keep one line per image",
            )
        seen.add(prediction.image_id)
        predictions.append(prediction)
    return predictions


def _from_row(row: Mapping[str, Any], *, where: str) -> Prediction:
    try:
        logprob, flags = row.get("mean_logprob"), row.get("flags", ())
        if not isinstance(row["image_id"], str | int) or not isinstance(row["caption"], str):
            raise TypeError("image_id and caption must be text")
        if not isinstance(flags, list | tuple):
            raise TypeError("flags must be a list")
        return Prediction(
            image_id=str(row["image_id"]),
            caption=row["caption"],
            mean_logprob=math.nan if logprob is None else float(logprob),
            num_tokens=int(row.get("num_tokens", 0)),
            finish_reason="length" if row.get("finish_reason") == "length" else "eos",
            flags=tuple(str(flag) for flag in flags),
        )
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise DataError(
            f"not a prediction: {str(row)[:80]!r} ({error})",
            where=where,
            fix='a line has the form {"image_id": "..", "caption": ".."}; ' + _WRITE_AGAIN,
        ) from error
