"""The main metric of all systems and of a human on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.errors import MissingExtraError
from captune.evaluation.compare import Evaluation
from captune.evaluation.labels import format_value
from captune.evaluation.report.drawing.axes import format_tick, linear_axis
from captune.metrics import METRICS, References, bootstrap_intervals, compute
from captune.records import CaptionRecord, Interval

_NEED_MORE = frozenset({"clip", "pac", "bert", "samples", "spice"})
"""Groups of metrics that need a model, images, Java or several captions per system."""
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Mark:
    """One system on the ruler; positions are percentages of its length.

    Attributes:
        label: Name of the system.
        kind: CSS class.
        value: Its value as text.
        interval: Its 95 % interval as text; empty without one.
        at: Position of the value.
        start: Position of the interval's low end.
        width: Length of the interval.
    """

    label: str
    kind: str
    value: str
    interval: str
    at: float
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Ruler:
    """A scale with a mark per system, and (position, text) per tick."""

    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    human: str


def draw_ruler(
    evaluation: Evaluation,
    labels: Mapping[str, tuple[str, str]],
    *,
    records: Sequence[CaptionRecord],
    seed: int,
) -> Ruler | None:
    """Place systems and a human on the scale of the main metric.

    Args:
        evaluation: The scores.
        labels: System -> its name and CSS class, from top to bottom.
        records: The images with their human captions.
        seed: Seed of the human's interval.

    Returns:
        The ruler; `None` if a value is not a number.
    """
    name = evaluation.main_metric
    rows = [
        (label, kind, scores.metrics[name], scores.intervals.get(name))
        for system, (label, kind) in labels.items()
        if (scores := evaluation.scores.get(system)) and name in scores.metrics
    ]
    human = score_human(evaluation, records, seed=seed)
    if human is not None:
        rows.append(("One human", "human", *human))
    if not rows or not all(math.isfinite(value) for _, _, value, _ in rows):
        return None
    ends = [0.0, *(value for _, _, value, _ in rows)]
    ends += [end for *_, i in rows if i is not None for end in (i.low, i.high)]
    axis = linear_axis(ends, start=0.0, end=100.0, num_ticks=6)
    marks = []
    for label, kind, value, interval in rows:
        low, high = (value, value) if interval is None else (interval.low, interval.high)
        text = ""
        if interval is not None:
            text = f"{format_value(name, low)} to {format_value(name, high)}"
        start, shown = axis.place(low), format_value(name, value)
        marks.append(
            Mark(label, kind, shown, text, axis.place(value), start, axis.place(high) - start)
        )
    ticks = tuple((axis.place(tick), format_tick(tick)) for tick in axis.ticks)
    return Ruler(tuple(marks), ticks, "" if human is None else marks[-1].value)


def score_human(
    evaluation: Evaluation, records: Sequence[CaptionRecord], *, seed: int
) -> tuple[float, Interval | None] | None:
    """Score the first human caption of each image against the others.

    Returns:
        Value and interval; `None` if fewer than half of the images have two human captions, or if
        the metric needs more than words.
    """
    name = evaluation.main_metric
    if name not in METRICS or METRICS[name].group in _NEED_MORE:
        return None
    scored = set(next(iter(evaluation.scores.values())).image_ids)
    several = [r for r in records if r.image_id in scored and len(r.captions) > 1]
    if not several or 2 * len(several) < len(scored):
        return None
    references = References(
        {record.image_id: record.captions[1:] for record in several}, tokenizer=evaluation.tokenize
    )
    own = {record.image_id: record.captions[0] for record in several}
    try:
        results = compute(references, own, metrics=(name,))
    except MissingExtraError:
        # The scores can come from a machine that has more installed.
        return None
    ends = bootstrap_intervals(results, num_resamples=_RESAMPLES, seed=seed).get(name)
    return results.corpus[name], None if ends is None else Interval(*ends)
