"""Predictions on disk: JSONL, one image a line, the same fields that a `Prediction` has.

`captune score --predictions` reads the same file, so that a score can be checked by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from captune.errors import DataError
from captune.records import Prediction
from captune.storage import write_jsonl


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write predictions as JSONL, whole or not at all.

    Raises:
        OutputError: The place cannot be written.
    """
    write_jsonl(path, (_to_row(prediction) for prediction in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote.

    Raises:
        DataError: The file is not there, a line is not a prediction, or an image comes twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(
            f"there are no predictions at {path}",
            fix="run the stage that writes them: captune run RECIPE --only evaluate",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the predictions at {path}: {error}",
            fix="write them anew: captune run RECIPE --from evaluate",
        ) from error
    seen: set[str] = set()
    predictions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        prediction = _from_line(line, where=f"{path}, line {number}")
        if prediction.image_id in seen:
            raise DataError(
                f"image {prediction.image_id} has two predictions",
                where=f"{path}, line {number}",
                fix="keep one line an image",
            )
        seen.add(prediction.image_id)
        predictions.append(prediction)
    return predictions


def _to_row(prediction: Prediction) -> dict[str, object]:
    # JSON has no NaN; an empty caption has no log-probability.
    logprob = prediction.mean_logprob if math.isfinite(prediction.mean_logprob) else None
    return {
        "image_id": prediction.image_id,
        "caption": prediction.caption,
        "mean_logprob": logprob,
        "num_tokens": prediction.num_tokens,
        "finish_reason": prediction.finish_reason,
        "flags": list(prediction.flags),
    }


def _from_line(line: str, *, where: str) -> Prediction:
    try:
        row: dict[str, Any] = json.loads(line)
        logprob = row.get("mean_logprob")
        return Prediction(
            image_id=str(row["image_id"]),
            caption=str(row["caption"]),
            mean_logprob=math.nan if logprob is None else float(logprob),
            num_tokens=int(row.get("num_tokens", 0)),
            finish_reason="length" if row.get("finish_reason") == "length" else "eos",
            flags=tuple(str(flag) for flag in row.get("flags", ())),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"not a prediction: {line[:80]!r}",
            where=where,
            fix='a line is {"image_id": "..", "caption": ".."}',
        ) from error
