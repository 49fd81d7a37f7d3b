"""report.html of a run: the verdict, then the scores behind it, then the images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.labels import format_value, metric_label
from captune.evaluation.report.caption_shapes import (
    FrequentCaption,
    frequent_captions,
    length_shares,
)
from captune.evaluation.report.charts import Series, draw_histogram, draw_lines
from captune.evaluation.report.gallery import Card, choose_images, make_card
from captune.evaluation.report.inputs import Fact, ReportInputs
from captune.evaluation.report.page import write_page
from captune.evaluation.report.score_rows import (
    Change,
    ScoreRow,
    describe_change,
    quality_rows,
    variety_rows,
)
from captune.evaluation.report.training_log import TrainingLog
from captune.evaluation.verdict import Occasion, Verdict, judge_run
from captune.metrics import is_lower_better
from captune.records import Prediction

LABELS: Mapping[Occasion, Mapping[str, str]] = {
    "run": {BEFORE: "Before", AFTER: "After", CONSTANT_CAPTION: "Constant caption"},
    "evaluation": {BEFORE: "Baseline", AFTER: "Model", CONSTANT_CAPTION: "Constant caption"},
}
"""Names of the systems, in the order of the columns."""

_IMAGES = {"train": "training images", "val": "validation images", "test": "test images"}


@dataclass(frozen=True, slots=True)
class MetricChart:
    """A curve of one validation metric."""

    label: str
    best: str
    chart: Markup


@dataclass(frozen=True)
class ReportPage:
    """The data of the template report.html."""

    occasion: Occasion
    title: str
    description: str
    verdict: Verdict
    num_images: int
    images: str
    left_out: int
    main_label: str
    main_change: Change | None
    before_value: str
    after_value: str
    systems: tuple[str, ...]
    labels: Mapping[str, str]
    quality: Sequence[ScoreRow]
    variety: Sequence[ScoreRow]
    constant_caption: str
    constant_from: str
    extra: Sequence[Fact]
    loss_linear: Markup
    loss_log: Markup
    metric_charts: Sequence[MetricChart]
    cards: Sequence[Card]
    image_metric: str
    lengths: Markup
    frequent: Mapping[str, Sequence[FrequentCaption]]
    decoding: Sequence[Fact]
    facts: Sequence[Fact]
    skipped: Sequence[Fact]
    signature: str
    signatures: Sequence[str]


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write a run's report as one HTML file that opens offline.

    Raises:
        OutputError: The file cannot be written.
    """
    write_page(path, "report.html", content=build_report(inputs))


def build_report(inputs: ReportInputs) -> ReportPage:
    """Compute everything that the report shows."""
    evaluation = inputs.evaluation
    labels = LABELS[inputs.occasion]
    systems = tuple(name for name in labels if name in evaluation.scores)
    main = evaluation.main_metric
    test = evaluation.test(BEFORE, AFTER).get(main)
    loss_linear, loss_log = _loss_charts(inputs.log)
    image_metric = evaluation.main_image_metric
    return ReportPage(
        occasion=inputs.occasion,
        title=inputs.title,
        description=inputs.description,
        verdict=judge_run(
            evaluation,
            inputs.after,
            records=inputs.records,
            occasion=inputs.occasion,
            picked_on=inputs.picked_on,
        ),
        num_images=evaluation.num_images,
        images=_IMAGES.get(evaluation.split, "images"),
        left_out=len(evaluation.left_out),
        main_label=metric_label(main),
        main_change=None if test is None else describe_change(main, test),
        before_value=_value(evaluation, BEFORE, main),
        after_value=_value(evaluation, AFTER, main),
        systems=systems,
        labels=labels,
        quality=quality_rows(evaluation, systems),
        variety=variety_rows(evaluation, systems, records=inputs.records),
        constant_caption=evaluation.constant_caption,
        constant_from=evaluation.constant_from,
        extra=[Fact(metric_label(k), format_value(k, v)) for k, v in inputs.extra.items()],
        loss_linear=loss_linear,
        loss_log=loss_log,
        metric_charts=_metric_charts(inputs.log),
        cards=_make_cards(inputs, image_metric),
        image_metric=metric_label(image_metric) if image_metric else "",
        lengths=_length_chart(inputs),
        frequent=_frequent(inputs),
        decoding=[Fact(name, _setting(value)) for name, value in inputs.generate],
        facts=inputs.facts,
        skipped=[
            Fact(s.file or s.image_id, f"{s.reason} {s.detail}".strip()) for s in inputs.skipped
        ],
        signature=evaluation.run_signature,
        signatures=list(evaluation.scores[AFTER].signatures.values()),
    )


def _value(evaluation: Evaluation, system: str, name: str) -> str:
    if system not in evaluation.scores:
        return ""
    return format_value(name, evaluation.scores[system].metrics[name])


def _loss_charts(log: TrainingLog) -> tuple[Markup, Markup]:
    """Draw the loss on a linear and on a logarithmic axis."""
    train, validation = log.curve("loss"), log.curve("val_loss")
    series = [
        Series("training", "train", tuple(zip(train.steps, train.values, strict=True))),
        Series(
            "validation",
            "validation",
            tuple(zip(validation.steps, validation.values, strict=True)),
            has_dots=True,
        ),
    ]
    title = "Training and validation loss by step"
    if validation.values:
        best = min(validation.values)
        title += f"; lowest validation loss {best:.4g}"
    return (
        draw_lines(series, title=title, x_label="optimizer step"),
        draw_lines(series, title=f"{title}, logarithmic", x_label="optimizer step", is_log=True),
    )


def _metric_charts(log: TrainingLog) -> list[MetricChart]:
    charts = []
    for key in log.metric_names():
        name, curve = key.removeprefix("val_"), log.curve(key)
        if not curve.values:
            continue
        best = (min if is_lower_better(name) else max)(curve.values)
        step = curve.steps[curve.values.index(best)]
        points = tuple(zip(curve.steps, curve.values, strict=True))
        label = metric_label(name)
        chart = draw_lines(
            [Series(label, "validation", points, has_dots=True)],
            title=f"{label} of validation captions by step; best {best:.4g} at step {step}",
            x_label="optimizer step",
        )
        charts.append(MetricChart(label, f"{format_value(name, best)} at step {step:,}", chart))
    return charts


def _make_cards(inputs: ReportInputs, metric: str | None) -> list[Card]:
    evaluation = inputs.evaluation
    ids = evaluation.scores[AFTER].image_ids
    systems: dict[str, Sequence[Prediction]] = {AFTER: inputs.after}
    if inputs.before is not None:
        systems = {BEFORE: inputs.before, AFTER: inputs.after}
    values = {
        name: evaluation.scores[name].per_image[metric] if metric else [math.nan] * len(ids)
        for name in systems
    }
    sign = -1.0 if metric is not None and is_lower_better(metric) else 1.0
    quality = [sign * value for value in values[AFTER]]
    gains = [math.nan] * len(ids)
    if BEFORE in systems:
        gains = [q - sign * b for q, b in zip(quality, values[BEFORE], strict=True)]
    captions = {name: {p.image_id: p.caption for p in system} for name, system in systems.items()}
    records = {record.image_id: record for record in inputs.records}
    return [
        make_card(
            records[ids[choice.place]],
            {name: captions[name][ids[choice.place]] for name in systems},
            scores={name: float(values[name][choice.place]) for name in systems},
            gain=float(gains[choice.place]),
            reasons=choice.reasons,
        )
        for choice in choose_images(gains, quality, size=inputs.gallery_size, seed=inputs.seed)
    ]


def _length_chart(inputs: ReportInputs) -> Markup:
    scored = set(inputs.evaluation.scores[AFTER].image_ids)
    captions = {"after": [p.caption for p in inputs.after if p.image_id in scored]}
    if inputs.before is not None:
        captions["before"] = [p.caption for p in inputs.before if p.image_id in scored]
    captions["human"] = [c for r in inputs.records if r.image_id in scored for c in r.captions]
    return draw_histogram(
        length_shares(captions),
        kinds={"after": "after", "before": "before", "human": "human"},
        title="Words per caption: share of captions of each length, after, before and human",
        x_label="words per caption",
    )


def _frequent(inputs: ReportInputs) -> dict[str, list[FrequentCaption]]:
    scored = set(inputs.evaluation.scores[AFTER].image_ids)
    lists = {AFTER: inputs.after, BEFORE: inputs.before or ()}
    captions = {n: [p.caption for p in own if p.image_id in scored] for n, own in lists.items()}
    return {name: frequent_captions(own) for name, own in captions.items() if own}


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, str) else str(value)
