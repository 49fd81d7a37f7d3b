"""The rows of a report's score table: values, intervals, change, and images won and lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.labels import (
    format_delta,
    format_test,
    format_value,
    is_description,
    metric_label,
)
from captune.evaluation.report.drawing.intervals import draw_intervals
from captune.evaluation.verdict import Outcome, judge_test
from captune.metrics import METRICS, PairedTest, References, compute, is_lower_better
from captune.records import CaptionRecord, Scores
from captune.suggest import format_count


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, its interval (empty if there is none), and whether it is the best of its row."""

    value: str
    interval: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A paired test as text.

    Attributes:
        delta: The difference, with its sign.
        interval: Its 95 % interval.
        p_value: The p value, such as `p = 0.012`.
        outcome: Whether the later system is better.
        wins: Number of images on which the later system is better.
        ties: Number of images on which both are equal.
        losses: Number of images on which the later system is worse.
        has_images: Whether the metric has a value per image, so that the three counts exist.
    """

    delta: str
    interval: str
    p_value: str
    outcome: Outcome
    wins: int
    ties: int
    losses: int
    has_images: bool


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One metric.

    Attributes:
        label: Readable name of the metric.
        note: A one-sentence explanation.
        cells: One per system, in the order of the systems.
        change: The second system against the first; `None` if they were not tested.
        chart: All intervals on one scale.
        is_lower_better: Whether a lower value is better.
        is_main: Whether the verdict is based on it.
    """

    label: str
    note: str
    cells: tuple[Cell, ...]
    change: Change | None
    chart: Markup
    is_lower_better: bool
    is_main: bool


def quality_rows(evaluation: Evaluation, systems: Sequence[str]) -> list[ScoreRow]:
    """Return the rows of the metrics that use references, the main metric first.

    Args:
        evaluation: The scores.
        systems: Columns, in order.
    """
    names = [name for name in evaluation.metrics if not is_description(name)]
    first = (evaluation.main_metric, *_SHOWN_FIRST)
    names.sort(key=lambda name: first.index(name) if name in first else len(first))
    return [_score_row(evaluation, name, systems) for name in names]


def variety_rows(
    evaluation: Evaluation, systems: Sequence[str], *, records: Sequence[CaptionRecord]
) -> list[ScoreRow]:
    """Return the rows of the metrics that describe captions; the last cell is for humans."""
    names = [name for name in evaluation.metrics if is_description(name)]
    if not names:
        return []
    scored = set(next(iter(evaluation.scores.values())).image_ids)
    captions = {r.image_id: r.captions for r in records if r.image_id in scored}
    first = {image_id: own[0] for image_id, own in captions.items()}
    references = References(captions, tokenizer=evaluation.tokenize)
    humans = compute(references, first, metrics=names).corpus
    rows = []
    for name in names:
        row = _score_row(evaluation, name, systems)
        cells = (*row.cells, Cell(format_value(name, humans[name])))
        rows.append(replace(row, cells=cells))
    return rows


def describe_change(name: str, test: PairedTest) -> Change:
    """Return a paired test as text."""
    return Change(
        delta=format_delta(name, test.delta),
        interval=f"{format_delta(name, test.low)} to {format_delta(name, test.high)}",
        p_value=format_test(name, test),
        outcome=judge_test(name, test),
        wins=test.wins,
        ties=test.ties,
        losses=test.losses,
        has_images=test.wins + test.ties + test.losses > 0,
    )


def describe_wins(change: Change | None) -> str:
    """Return on how many images the later system is better; empty without a test."""
    if change is None or not change.has_images:
        return ""
    total = change.wins + change.ties + change.losses
    images = format_count(total, "image")
    if change.wins == total:
        return f"Better on {'all ' if total > 1 else ''}{images}."
    others = (("worse", change.losses), ("equal", change.ties))
    named = "".join(f", {word} on {number:,}" for word, number in others if number)
    return f"Better on {change.wins:,} of {images}{named}."


def _score_row(evaluation: Evaluation, name: str, systems: Sequence[str]) -> ScoreRow:
    test = evaluation.test(systems[0], systems[1]).get(name) if len(systems) > 1 else None
    return ScoreRow(
        label=metric_label(name),
        note=METRICS[name].description if name in METRICS else "",
        cells=_cells(evaluation, name, systems),
        change=None if test is None else describe_change(name, test),
        chart=_interval_chart(evaluation, name, systems),
        is_lower_better=is_lower_better(name),
        is_main=name == evaluation.main_metric,
    )


def _cells(evaluation: Evaluation, name: str, systems: Sequence[str]) -> tuple[Cell, ...]:
    """Return one cell per system; values that read the same tie, and if all do, none is best."""
    cells = [_cell(evaluation.scores[system], name) for system in systems]
    values = [evaluation.scores[system].metrics.get(name, math.nan) for system in systems]
    known = [value for value in values if math.isfinite(value)]
    if len({cell.value for cell in cells}) < 2 or not known:
        return tuple(cells)
    best = format_value(name, min(known) if is_lower_better(name) else max(known))
    return tuple(replace(cell, is_best=cell.value == best) for cell in cells)


def _cell(scores: Scores, name: str) -> Cell:
    if name not in scores.metrics:
        return Cell("–")
    interval = scores.intervals.get(name)
    ends = ""
    if interval is not None:
        ends = f"{format_value(name, interval.low)} to {format_value(name, interval.high)}"
    return Cell(format_value(name, scores.metrics[name]), ends)


def _interval_chart(evaluation: Evaluation, name: str, systems: Sequence[str]) -> Markup:
    rows = []
    # A comparison may have a model of that name.
    kinds = _KINDS if CONSTANT_CAPTION in systems else {}
    for place, system in enumerate(systems):
        scores = evaluation.scores[system]
        if name in scores.metrics and math.isfinite(scores.metrics[name]):
            kind = kinds.get(system, f"system-{place % 6}")
            rows.append((kind, scores.metrics[name], scores.intervals.get(name)))
    return draw_intervals(rows, title=f"95 % intervals of {metric_label(name)}")


_SHOWN_FIRST = ("cider", "spice", "meteor", "bleu_4", "rouge_l", "clip_score", "sacrebleu", "wer")
_KINDS = {BEFORE: "before", AFTER: "after", CONSTANT_CAPTION: "constant"}
