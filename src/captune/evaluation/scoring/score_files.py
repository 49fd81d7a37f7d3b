"""Scores on disk: scores.json of a run, `--json` of `evaluate`, and a CSV with a row per image."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from captune.evaluation.compare import CONSTANT_CAPTION, Evaluation, SystemPair
from captune.metrics import PairedTest
from captune.records import CaptionRecord, Prediction, Scores
from captune.storage import write_json, write_text
from captune.text_safety import escape_cell

REFERENCE_SEPARATOR = " | "
"""Separator of the human captions of an image in `actual_caption`."""

SCHEMA = 1
"""Incremented when a key changes its meaning; new keys do not increment it."""


def describe_scores(
    evaluation: Evaluation, *, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the common structure of scores.json and every `--json`.

    Args:
        evaluation: Every system's scores and the paired tests.
        names: System -> name shown instead.

    Returns:
        `schema`; `systems`: a section per system; `paired`: `SYSTEM_vs_AGAINST` -> metric -> test;
        `num_images`. Commands add their own keys and repeat none of these.
    """
    called = names or {}
    sections = system_sections(evaluation)
    return {
        "schema": SCHEMA,
        "systems": {called.get(name, name): section for name, section in sections.items()},
        "paired": {
            pair_name(
                SystemPair(
                    called.get(pair.against, pair.against), called.get(pair.system, pair.system)
                )
            ): {name: _test_row(test) for name, test in tests.items()}
            for pair, tests in evaluation.tests.items()
        },
        "num_images": evaluation.num_images,
    }


def write_scores_json(
    path: Path, evaluation: Evaluation, *, extra: Mapping[str, object] | None = None
) -> None:
    """Write scores.json of a run, with each system's section at the top level too.

    Args:
        path: The file, written atomically.
        evaluation: Every system's scores and the paired tests.
        extra: More keys at the top level, such as `truth_rate`; they do not override sections.

    Raises:
        OutputError: The file cannot be written.
    """
    write_json(path, {**(extra or {}), **run_section(evaluation)})


def run_section(evaluation: Evaluation) -> dict[str, Any]:
    """Return the common structure, with each system's section at the top level too."""
    return {**describe_scores(evaluation), **system_sections(evaluation)}


def system_sections(evaluation: Evaluation) -> dict[str, dict[str, object]]:
    """Return a section per system; the constant caption's also has `caption`, `chosen_from`."""
    sections = {name: scores_section(scores) for name, scores in evaluation.scores.items()}
    if CONSTANT_CAPTION in sections:
        sections[CONSTANT_CAPTION] |= {
            "caption": evaluation.constant_caption,
            "chosen_from": evaluation.constant_from,
        }
    return sections


def scores_section(scores: Scores) -> dict[str, object]:
    """Return `metrics`, `intervals`, `num_images` and `signature`, as `--json` promises."""
    return {
        "metrics": dict(scores.metrics),
        "intervals": {name: [i.low, i.high] for name, i in scores.intervals.items()},
        "num_images": scores.num_images,
        "signature": scores.signature,
    }


def image_rows(evaluation: Evaluation, *, is_named: bool = True) -> Iterator[dict[str, object]]:
    """Yield the scores of each image and system, with all digits.

    Args:
        evaluation: Every system's scores.
        is_named: Whether a row names its system.

    Yields:
        `image_id`, `predictions` (the system) and one key per metric that has a value per image.
    """
    for name, scores in evaluation.scores.items():
        for place, image_id in enumerate(scores.image_ids):
            row: dict[str, object] = {"image_id": image_id}
            if is_named:
                row["predictions"] = name
            yield row | {metric: values[place] for metric, values in scores.per_image.items()}


def pair_name(pair: SystemPair) -> str:
    """Return `SYSTEM_vs_AGAINST`."""
    return f"{pair.system}_vs_{pair.against}"


def write_results_csv(
    path: Path,
    records: Sequence[CaptionRecord],
    *,
    predictions: Sequence[Prediction],
    scores: Scores,
) -> None:
    """Write `filename,actual_caption,generated_caption` and one column per metric.

    The metrics are those with a value per image. Each image with a prediction has one row, in the
    order of the records. `actual_caption` holds all human captions of the image, joined by ` | `.
    Cells that a spreadsheet would run as a formula start with an apostrophe.

    Raises:
        OutputError: The file cannot be written.
    """
    captions = {prediction.image_id: prediction.caption for prediction in predictions}
    place_of = {image_id: place for place, image_id in enumerate(scores.image_ids)}
    metrics = list(scores.per_image)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["filename", "actual_caption", "generated_caption", *metrics])
    for record in records:
        if record.image_id not in captions:
            continue
        place = place_of.get(record.image_id)
        values = ["" if place is None else _cell(scores.per_image[m][place]) for m in metrics]
        texts = (
            relative_name(record),
            REFERENCE_SEPARATOR.join(record.captions),
            captions[record.image_id],
        )
        writer.writerow([*map(escape_cell, texts), *values])
    write_text(path, buffer.getvalue())


def relative_name(record: CaptionRecord) -> str:
    """Return the file name or id of an image, never an absolute path."""
    name = record.file_name or record.image_id
    path = PurePosixPath(name.replace("\\", "/"))
    is_drive = len(path.parts) > 1 and path.parts[0].endswith(":")
    return path.name if path.is_absolute() or is_drive else name


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _test_row(test: PairedTest) -> dict[str, object]:
    return {
        "delta": test.delta,
        "interval": [test.low, test.high],
        "p_value": test.p_value,
        "wins": test.wins,
        "ties": test.ties,
        "losses": test.losses,
    }
