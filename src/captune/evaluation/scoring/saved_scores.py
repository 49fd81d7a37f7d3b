"""A run's scores on disk: the evaluate stage writes them, the report stage reads them.

A report can be rebuilt at any time, even after the models that some metrics load (BERTScore,
CLIPScore) were removed from the machine. A fingerprint identifies the scored captions, so that a
report never shows scores of other captions.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.errors import DataError
from captune.evaluation.compare import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    SystemPair,
    score_run,
)
from captune.evaluation.scoring.evaluation import ScoringOptions
from captune.evaluation.scoring.score_files import image_rows, pair_name, run_section
from captune.metrics import DEFAULT_TOKENIZER, PairedTest
from captune.records import CaptionRecord, Interval, Prediction, Scores
from captune.storage import read_json_object, read_json_objects, write_json, write_jsonl

SCORES, PER_IMAGE = "scores.json", "scores_per_image.jsonl"
_PAIRS = (SystemPair(BEFORE, AFTER), SystemPair(CONSTANT_CAPTION, AFTER))


@dataclass(frozen=True)
class RunToScore:
    """Everything that a run's scores depend on, except for software versions.

    Attributes:
        records: The scored images with their human captions.
        before: Captions of the model before training; `None` if it was not run.
        after: Captions of the tuned model.
        training_records: Images whose captions select the constant caption.
        options: Metrics, references and resampling.
    """

    records: Sequence[CaptionRecord]
    before: Sequence[Prediction] | None
    after: Sequence[Prediction]
    training_records: Sequence[CaptionRecord]
    options: ScoringOptions

    def score(self) -> Evaluation:
        """Compute the scores; see `score_run`.

        Raises:
            DataError: No image has human captions and all predictions.
            MetricError: A metric is unknown.
        """
        return score_run(
            self.records,
            before=self.before,
            after=self.after,
            training_records=self.training_records,
            options=self.options,
        )

    def fingerprint(self) -> str:
        """Return a hash of captions, references and options, without log-probabilities, devices."""
        options, inputs = self.options, self.options.inputs
        parts: dict[str, object] = {
            "metrics": options.metrics,
            "split": options.split,
            "generate": None if options.generate is None else options.generate.model_dump(),
            "resampling": (options.bootstrap_samples, options.seed),
            "max_references": options.max_references,
            "models": (inputs.clip_model, inputs.pac_checkpoint, inputs.bert_model),
            "references": [(record.image_id, record.captions) for record in self.records],
            "training": [(record.image_id, record.captions) for record in self.training_records],
            "before": None if self.before is None else _captions(self.before),
            "after": _captions(self.after),
        }
        if options.tokenize != DEFAULT_TOKENIZER:
            # Absent by default, so that scores of earlier versions still match.
            parts["tokenize"] = options.tokenize
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def save_scores(
    folder: Path,
    evaluation: Evaluation,
    *,
    run: RunToScore,
    extra: Mapping[str, object] | None = None,
) -> None:
    """Write scores.json, and scores_per_image.jsonl: one line per image and system, all digits.

    Args:
        folder: The run's folder.
        evaluation: Result of `run.score`.
        run: The run that was scored.
        extra: More keys of scores.json, such as `truth_rate`; they do not override its own keys.

    Raises:
        OutputError: A file cannot be written.
    """
    write_jsonl(
        folder / PER_IMAGE,
        image_rows(evaluation),
    )
    own = {
        **run_section(evaluation),
        "signatures": dict(evaluation.scores[AFTER].signatures),
        "fingerprint": run.fingerprint(),
    }
    # Written last, so that the fingerprint never accompanies older values.
    write_json(folder / SCORES, {**(extra or {}), **own})


def load_scores(folder: Path, run: RunToScore) -> Evaluation | None:
    """Read the scores of `save_scores`; `None` if absent, damaged or not of this run."""
    try:
        content = read_json_object(folder / SCORES, fix="")
        if content["fingerprint"] != run.fingerprint():
            return None
        rows = _read_rows(folder / PER_IMAGE)
        return _restore(content, rows, run=run)
    except (DataError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
        return None


def _captions(predictions: Sequence[Prediction]) -> list[tuple[str, str]]:
    return [(prediction.image_id, prediction.caption) for prediction in predictions]


def _read_rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    systems: dict[str, list[dict[str, Any]]] = {}
    for row in read_json_objects(path, fix=""):
        systems.setdefault(row.pop("predictions"), []).append(row)
    return systems


def _restore(
    content: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]], *, run: RunToScore
) -> Evaluation:
    names = [name for name in (BEFORE, AFTER, CONSTANT_CAPTION) if name in content]
    # All systems are scored the same way, or they could not be tested against each other.
    signatures = content["signatures"]
    scores = {name: _restore_scores(content[name], rows[name], signatures) for name in names}
    for system in {BEFORE, AFTER} & scores.keys():
        if absent := signatures.keys() - scores[system].metrics.keys():
            raise LookupError(f"{system} has no {', '.join(sorted(absent))}")
    scored = set(scores[AFTER].image_ids)
    paired = dict(content["paired"])
    tests = {
        pair: {name: _restore_test(row) for name, row in paired[pair_name(pair)].items()}
        for pair in _PAIRS
        if pair_name(pair) in paired
    }
    return Evaluation(
        scores=scores,
        tests=tests,
        constant_caption=_text(content[CONSTANT_CAPTION]["caption"]),
        constant_from=_text(content[CONSTANT_CAPTION]["chosen_from"]),
        left_out=tuple(r.image_id for r in run.records if r.image_id not in scored),
        split=run.options.split,
        tokenize=run.options.tokenize,
    )


def _restore_scores(
    section: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], signatures: Mapping[str, str]
) -> Scores:
    if len(rows) != section["num_images"]:
        raise ValueError(f"{len(rows)} rows for {section['num_images']} images")
    metrics = [name for name in rows[0] if name != "image_id"]
    return Scores(
        metrics={name: _number(value) for name, value in section["metrics"].items()},
        intervals={n: Interval(*map(_number, ends)) for n, ends in section["intervals"].items()},
        per_image={name: [_number(row[name]) for row in rows] for name in metrics},
        image_ids=tuple(_text(row["image_id"]) for row in rows),
        signature=_text(section["signature"]),
        signatures={name: _text(signature) for name, signature in signatures.items()},
    )


def _restore_test(row: Mapping[str, Any]) -> PairedTest:
    low, high = map(_number, row["interval"])
    return PairedTest(
        delta=_number(row["delta"]),
        low=low,
        high=high,
        p_value=_number(row["p_value"]),
        wins=_count(row["wins"]),
        ties=_count(row["ties"]),
        losses=_count(row["losses"]),
    )


def _number(value: object) -> float:
    # JSON has no NaN; `write_json` writes null for it.
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value
