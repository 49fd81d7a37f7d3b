"""Scores on disk: scores.json of a run, the `--json` of `evaluate`, and the CSV an image a row."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from captune.evaluation.compare import CONSTANT_CAPTION, Evaluation, SystemPair
from captune.metrics import PairedTest
from captune.records import CaptionRecord, Prediction, Scores
from captune.storage import write_json, write_text
from captune.text_safety import escape_cell

REFERENCE_SEPARATOR = " | "
"""Between the human captions of an image in `actual_caption`."""


def write_scores_json(
    path: Path, evaluation: Evaluation, *, extra: Mapping[str, object] | None = None
) -> None:
    """Write scores.json: a section a system, `paired`, and what else was measured.

    Args:
        path: The file, written whole.
        evaluation: Every system's scores and the paired tests.
        extra: More keys at the top, such as `truth_rate`; sections are not overwritten.

    Raises:
        OutputError: The place cannot be written.
    """
    write_json(path, {**(extra or {}), **run_section(evaluation)})


def run_section(evaluation: Evaluation) -> dict[str, object]:
    """A section a system, `paired`, `num_images`."""
    return {
        **system_sections(evaluation),
        "paired": paired_section(evaluation),
        "num_images": evaluation.num_images,
    }


def system_sections(evaluation: Evaluation) -> dict[str, dict[str, object]]:
    """A section a system; the constant caption's also says `caption` and `chosen_from`."""
    sections = {name: scores_section(scores) for name, scores in evaluation.scores.items()}
    if CONSTANT_CAPTION in sections:
        sections[CONSTANT_CAPTION] |= {
            "caption": evaluation.constant_caption,
            "chosen_from": evaluation.constant_from,
        }
    return sections


def comparison_section(evaluation: Evaluation) -> dict[str, object]:
    """`systems`: a section a model, in order; `paired`; `num_images`."""
    return {
        "systems": {name: scores_section(scores) for name, scores in evaluation.scores.items()},
        "paired": paired_section(evaluation),
        "num_images": evaluation.num_images,
    }


def scores_section(scores: Scores) -> dict[str, object]:
    """`metrics`, `intervals`, `num_images`, `signature`, the keys that `--json` promises."""
    return {
        "metrics": dict(scores.metrics),
        "intervals": {name: [i.low, i.high] for name, i in scores.intervals.items()},
        "num_images": scores.num_images,
        "signature": scores.signature,
    }


def paired_section(evaluation: Evaluation) -> dict[str, object]:
    """`SYSTEM_vs_AGAINST` -> metric -> delta, interval, p_value, wins, ties, losses."""
    return {
        pair_name(pair): {name: _test_row(test) for name, test in tests.items()}
        for pair, tests in evaluation.tests.items()
    }


def pair_name(pair: SystemPair) -> str:
    """`SYSTEM_vs_AGAINST`."""
    return f"{pair.system}_vs_{pair.against}"


def write_results_csv(
    path: Path,
    records: Sequence[CaptionRecord],
    *,
    predictions: Sequence[Prediction],
    scores: Scores,
) -> None:
    """Write `filename,actual_caption,generated_caption` and one column a per-image metric.

    One row an image that has a prediction, in the order of the records. All human captions of an
    image stand in `actual_caption`, joined by ` | `. Cells that a spreadsheet would run as a
    formula start with an apostrophe.

    Raises:
        OutputError: The place cannot be written.
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
    """The image's name for people, never an absolute path of one machine."""
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
