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
            fix=f"run the stage that writes them: {_command(path)}",
        )
    seen: set[str] = set()
    predictions = []
    fix = f"write them again: {_command(path)}"
    for number, row in enumerate(read_json_objects(path, fix=fix), start=1):
        prediction = _from_row(row, where=f"{path}, line {number}", fix=fix)
        if prediction.image_id in seen:
            raise DataError(
                f"image {prediction.image_id} has two predictions",
                where=f"{path}, line {number}",
                fix="keep one line per image",
            )
        seen.add(prediction.image_id)
        predictions.append(prediction)
    return predictions


def _command(path: Path) -> str:
    """Return the command that writes a run's file of predictions, whatever is in its place."""
    stage = "baseline" if path.name == "before.jsonl" else "evaluate"
    return f"captune run RECIPE --from {stage} --only {stage}"


def _from_row(row: Mapping[str, Any], *, where: str, fix: str) -> Prediction:
    try:
        for name, kinds in _TYPES.items():
            if not isinstance(row[name] if name in _NEEDED else row.get(name), kinds):
                raise TypeError(f"{name} is {row[name]!r}")
        return to_prediction(row)
    except (TypeError, LookupError, OverflowError) as error:
        raise DataError(
            f"not a prediction: {str(row)[:80]!r} ({error})",
            where=where,
            fix='a line has the form {"image_id": "..", "caption": ".."}; ' + fix,
        ) from error
