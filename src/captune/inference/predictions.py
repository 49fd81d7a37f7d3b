"""Predictions on disk: JSONL, one line per image, with the fields of a `Prediction`.

`captune score --predictions` reads the same file, so that a score can be checked separately.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captune.errors import DataError
from captune.inference.prediction_rows import prediction_row, to_prediction
from captune.records import Prediction
from captune.storage import read_json_objects, write_jsonl

_WRITE_AGAIN = "write them again: captune run RECIPE --from evaluate"
_NEEDED = ("image_id", "caption")
_TYPES: dict[str, Any] = {
    "image_id": str | int,
    "caption": str,
    "mean_logprob": int | float | None,
    "num_tokens": int | None,
    "flags": list | None,
}


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
        for name, kinds in _TYPES.items():
            if not isinstance(row[name] if name in _NEEDED else row.get(name), kinds):
                raise TypeError(f"{name} is {row[name]!r}")
        return to_prediction(row)
    except (TypeError, LookupError, OverflowError) as error:
        raise DataError(
            f"not a prediction: {str(row)[:80]!r} ({error})",
            where=where,
            fix='a line has the form {"image_id": "..", "caption": ".."}; ' + _WRITE_AGAIN,
        ) from error
