"""The curves of a training run: loss and validation metrics on one horizontal axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from captune.evaluation.labels import format_value, is_description, metric_label
from captune.evaluation.report.drawing.charts import Scale, Series, draw_lines
from captune.evaluation.report.training_log import VALIDATION_PREFIX, Curve, TrainingLog
from captune.metrics import METRICS, is_lower_better

_STEPS = "optimizer step"


@dataclass(frozen=True, slots=True)
class MetricChart:
    """A curve of one validation metric, with its notable value in words."""

    label: str
    note: str
    chart: Markup


@dataclass(frozen=True, slots=True)
class TrainingCharts:
    """All curves; markup is empty without values."""

    loss: Markup
    loss_log: Markup
    metrics: Sequence[MetricChart]


def draw_training(log: TrainingLog, best_step: int | None, *, main: str = "") -> TrainingCharts:
    """Draw all curves of a log.

    Args:
        log: The log of the run.
        best_step: Optimizer step of the weights that were scored; `None` if unknown.
        main: The metric whose curve is drawn first, as in the table of scores.
    """
    train, validation = log.curve("loss"), log.curve("val_loss")
    names = sorted(log.metric_names(), key=lambda key: key != f"{VALIDATION_PREFIX}{main}")
    curves = {key: log.curve(key) for key in names}
    steps = [step for curve in (train, validation, *curves.values()) for step in curve.steps]
    if not steps:
        return TrainingCharts(Markup(""), Markup(""), ())
    scale = Scale(
        # The log can lack its end, as after a kill; the line is inside the chart all the same.
        x_range=(0.0, float(max([*steps, best_step or 0]))),
        mark=None if best_step is None else (float(best_step), "checkpoint used"),
    )
    linear, log_scaled = _draw_loss(train, validation, scale)
    charts = [_draw_metric(key, curve, scale) for key, curve in curves.items() if curve.values]
    return TrainingCharts(linear, log_scaled, charts)


def _draw_loss(train: Curve, validation: Curve, scale: Scale) -> tuple[Markup, Markup]:
    """Draw the loss on a linear and on a logarithmic axis."""
    series = [
        Series("training", "train", _points(train)),
        Series("validation", "validation", _points(validation), has_dots=True),
    ]
    title = "Training and validation loss by step"
    if validation.values:
        title += f"; lowest validation loss {min(validation.values):.4g}"
    return (
        draw_lines(series, title=title, x_label=_STEPS, scale=scale),
        draw_lines(
            series,
            title=f"{title}, logarithmic",
            x_label=_STEPS,
            scale=replace(scale, is_log=True),
        ),
    )


def _draw_metric(key: str, curve: Curve, scale: Scale) -> MetricChart:
    name = key.removeprefix("val_")
    label = metric_label(name)
    note = _describe_best(name, curve) if not is_description(name) else _describe_range(name, curve)
    has_low_end = name in METRICS and math.isfinite(METRICS[name].low)
    chart = draw_lines(
        [Series(label, "validation", _points(curve), has_dots=True)],
        title=f"{label} of validation captions by step; {note}",
        x_label=_STEPS,
        # Otherwise a change in the third digit would fill the panel.
        scale=replace(scale, from_zero=has_low_end),
    )
    return MetricChart(label, note, chart)


def _describe_best(name: str, curve: Curve) -> str:
    best = (min if is_lower_better(name) else max)(curve.values)
    step = curve.steps[curve.values.index(best)]
    return f"best {format_value(name, best)} at step {step:,}"


def _describe_range(name: str, curve: Curve) -> str:
    # No direction is best for variety: captions of random words are the most varied.
    low, high = format_value(name, min(curve.values)), format_value(name, max(curve.values))
    return low if low == high else f"{low} to {high}"


def _points(curve: Curve) -> tuple[tuple[float, float], ...]:
    return tuple(zip(map(float, curve.steps), curve.values, strict=True))
