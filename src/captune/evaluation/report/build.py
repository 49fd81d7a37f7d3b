"""report.html of a run: the verdict, then the scores behind it, then the images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markupsafe import Markup

from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.labels import format_value, metric_label
from captune.evaluation.report.drawing.charts import draw_histogram
from captune.evaluation.report.drawing.gain_chart import draw_gains
from captune.evaluation.report.drawing.training_charts import TrainingCharts, draw_training
from captune.evaluation.report.evidence.copies import ScoreCopy, copy_scores
from captune.evaluation.report.evidence.hero import Hero, make_heroes
from captune.evaluation.report.evidence.next_steps import NextStep, suggest_steps
from captune.evaluation.report.evidence.ruler import Ruler, draw_ruler
from captune.evaluation.report.facts import Fact
from captune.evaluation.report.gallery.cards import Card, choose_cards
from captune.evaluation.report.gallery.items import GalleryItem, list_items
from captune.evaluation.report.gallery.rest import write_with_rest
from captune.evaluation.report.inputs import (
    SYSTEM_LABELS,
    HowMade,
    ReportInputs,
    describe_origin,
)
from captune.evaluation.report.page import write_page
from captune.evaluation.report.score_rows import (
    Change,
    ScoreRow,
    describe_change,
    describe_wins,
    quality_rows,
    variety_rows,
)
from captune.evaluation.report.words.caption_shapes import (
    FrequentCaption,
    frequent_captions,
    length_shares,
)
from captune.evaluation.report.words.mistake_groups import (
    MistakeGroup,
    describe_result,
    group_mistakes,
)
from captune.evaluation.report.words.mistakes import learn_things
from captune.evaluation.verdict import Occasion, Verdict, judge_run
from captune.records import Prediction
from captune.suggest import format_count

_MAX_SKIPPED = 200
"""Skipped images on the page; skipped_images.jsonl has all of them."""

_IMAGES = {"train": "training image", "val": "validation image", "test": "test image"}


@dataclass(frozen=True, slots=True)
class Statistics:
    """Charts and lists of all captions."""

    lengths: Markup
    gains: Markup
    frequent: Mapping[str, Sequence[FrequentCaption]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The top of a report: the result in a sentence, pictures, the ruler, mistakes."""

    sentence: str
    heroes: Sequence[Hero]
    ruler: Ruler | None
    groups: Sequence[MistakeGroup]


@dataclass(frozen=True)
class ReportPage:
    """The data of the template report.html."""

    occasion: Occasion
    title: str
    description: str
    verdict: Verdict
    data_check: str
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
    training: TrainingCharts
    cards: Sequence[Card]
    files: str
    has_similarity: bool
    image_metric: str
    statistics: Statistics
    skipped: Sequence[Fact]
    num_skipped: int
    how: HowMade
    copies: Sequence[ScoreCopy]
    evidence: Evidence
    next_steps: Sequence[NextStep]


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write a run's report as one HTML file that opens offline.

    If there are more images than the file holds, a folder beside it gets all of them, and the page
    loads them when asked to.

    Raises:
        OutputError: The file or the folder cannot be written.
    """
    page, items = _build(inputs)
    by_id = {record.image_id: record for record in inputs.records}
    write_with_rest(
        path,
        lambda files: write_page(
            path, "report.html", content=replace(page, files=files), has_files=bool(files)
        ),
        items=items,
        records=[by_id[image_id] for image_id in inputs.evaluation.scores[AFTER].image_ids],
        is_needed=len(page.cards) < len(items),
    )


def build_report(inputs: ReportInputs) -> ReportPage:
    """Compute everything that the report shows."""
    return _build(inputs)[0]


def _build(inputs: ReportInputs) -> tuple[ReportPage, list[GalleryItem]]:
    evaluation = inputs.evaluation
    labels = SYSTEM_LABELS[inputs.occasion]
    systems = tuple(name for name in labels if name in evaluation.scores)
    main = evaluation.main_metric
    test = evaluation.test(BEFORE, AFTER).get(main)
    change = None if test is None else describe_change(main, test)
    image_metric = evaluation.main_image_metric
    verdict = judge_run(
        evaluation,
        inputs.after,
        records=inputs.records,
        occasion=inputs.occasion,
        picked_on=inputs.picked_on,
    )
    evidence, items, cards = _gather(inputs, change)
    training = draw_training(inputs.log, inputs.best_step, main=main)
    page = ReportPage(
        occasion=inputs.occasion,
        title=inputs.title,
        description=inputs.description,
        verdict=replace(verdict, warnings=(*inputs.cautions, *verdict.warnings)),
        data_check=inputs.data_check,
        num_images=evaluation.num_images,
        images=format_count(evaluation.num_images, _IMAGES.get(evaluation.split, "image")),
        left_out=len(evaluation.left_out),
        main_label=metric_label(main),
        main_change=change,
        before_value=_value(evaluation, BEFORE, main),
        after_value=_value(evaluation, AFTER, main),
        systems=systems,
        labels=labels,
        quality=quality_rows(evaluation, systems),
        variety=variety_rows(evaluation, systems, records=inputs.records),
        constant_caption=evaluation.constant_caption,
        constant_from=evaluation.constant_from,
        extra=[Fact(metric_label(k), format_value(k, v)) for k, v in inputs.extra.items()],
        training=training,
        cards=cards,
        files="",
        has_similarity=any(math.isfinite(item.similarity) for item in items),
        image_metric=metric_label(image_metric) if image_metric else "",
        statistics=_draw_statistics(inputs, items),
        skipped=_list_skipped(inputs),
        num_skipped=len(inputs.skipped),
        how=_describe_how(inputs),
        copies=copy_scores(evaluation, labels),
        evidence=evidence,
        next_steps=suggest_steps(inputs, verdict),
    )
    return page, items


def _describe_how(inputs: ReportInputs) -> HowMade:
    recipe = None if inputs.source is None else inputs.source.recipe
    return describe_origin(inputs.evaluation, inputs.facts, generate=inputs.generate, recipe=recipe)


def _list_skipped(inputs: ReportInputs) -> list[Fact]:
    return [
        Fact(each.file or each.image_id, f"{each.reason} {each.detail}".strip())
        for each in inputs.skipped[:_MAX_SKIPPED]
    ]


def _value(evaluation: Evaluation, system: str, name: str) -> str:
    if system not in evaluation.scores or name not in evaluation.scores[system].metrics:
        return ""
    return format_value(name, evaluation.scores[system].metrics[name])


def _gather(
    inputs: ReportInputs, change: Change | None
) -> tuple[Evidence, list[GalleryItem], list[Card]]:
    """Return the evidence at the top, all images, and the cards inside the file."""
    evaluation = inputs.evaluation
    scored = set(evaluation.scores[AFTER].image_ids)
    records = {r.image_id: r for r in inputs.records if r.image_id in scored}
    systems: dict[str, Sequence[Prediction]] = {AFTER: inputs.after}
    if inputs.before is not None:
        systems = {BEFORE: inputs.before, AFTER: inputs.after}
    things = learn_things(caption for record in records.values() for caption in record.captions)
    items = list_items(
        evaluation,
        systems,
        records=inputs.records,
        things=things,
        quality_of=(AFTER,),
    )
    groups = group_mistakes(items, list(records.values()), things=things)
    of_place = [records[image_id] for image_id in evaluation.scores[AFTER].image_ids]
    labels = SYSTEM_LABELS[inputs.occasion]
    kinds = {CONSTANT_CAPTION: "constant", BEFORE: "before", AFTER: "after"}
    evidence = Evidence(
        sentence=describe_result(groups, describe_wins(change)),
        heroes=make_heroes(items, of_place, has_baseline=BEFORE in systems),
        ruler=draw_ruler(
            evaluation,
            {name: (labels[name], kind) for name, kind in kinds.items()},
            records=inputs.records,
            seed=inputs.seed,
        ),
        groups=groups,
    )
    cards = choose_cards(
        items,
        of_place,
        size=inputs.gallery_size,
        seed=inputs.seed,
        # A click on one of the three opens it in the gallery, also without the folder.
        heroes=[hero.card.item.place for hero in evidence.heroes],
    )
    return evidence, items, cards


def _draw_statistics(inputs: ReportInputs, items: Sequence[GalleryItem]) -> Statistics:
    metric = inputs.evaluation.main_image_metric
    gains = draw_gains(
        [item.gain for item in items], label=metric_label(metric) if metric else "score"
    )
    return Statistics(_length_chart(inputs), gains, _frequent(inputs))


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
        drill="length={}",
    )


def _frequent(inputs: ReportInputs) -> dict[str, list[FrequentCaption]]:
    scored = set(inputs.evaluation.scores[AFTER].image_ids)
    lists = {AFTER: inputs.after, BEFORE: inputs.before or ()}
    captions = {n: [p.caption for p in own if p.image_id in scored] for n, own in lists.items()}
    return {name: frequent_captions(own) for name, own in captions.items() if own}
