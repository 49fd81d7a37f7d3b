"""comparison.html: any number of models on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captune.evaluation.compare import Evaluation
from captune.evaluation.labels import metric_label
from captune.evaluation.report.caption_shapes import FrequentCaption, frequent_captions
from captune.evaluation.report.gallery import Card, choose_images, make_card
from captune.evaluation.report.inputs import GALLERY_SIZE, Fact
from captune.evaluation.report.page import write_page
from captune.evaluation.report.score_rows import (
    Change,
    ScoreRow,
    describe_change,
    quality_rows,
    variety_rows,
)
from captune.evaluation.verdict import describe_ranking, warn_of_collapses
from captune.metrics import is_lower_better
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction


@dataclass(frozen=True)
class ComparisonInputs:
    """The models of a comparison.

    Attributes:
        records: The scored images with their human captions.
        systems: Name of a model -> its captions of those images.
        evaluation: Result of `compare_systems`.
        generate: How captions were decoded.
        seed: Seed of the random images in the gallery.
        chosen: Images to show instead of a selection of the scored ones; `systems` includes their
            captions.
        facts: Models, hardware, versions, command, times.
        gallery_size: Maximum number of images in the gallery if none are chosen.
    """

    records: Sequence[CaptionRecord]
    systems: Mapping[str, Sequence[Prediction]]
    evaluation: Evaluation
    generate: GenerateConfig
    seed: int
    chosen: Sequence[CaptionRecord] = ()
    facts: Sequence[Fact] = field(default_factory=tuple)
    gallery_size: int = GALLERY_SIZE


@dataclass(frozen=True, slots=True)
class Duel:
    """The paired test of two models on the main metric."""

    against: str
    system: str
    change: Change


@dataclass(frozen=True)
class ComparisonPage:
    """The data of the template comparison.html."""

    title: str
    headline: str
    sentence: str
    warnings: Sequence[str]
    num_images: int
    left_out: int
    main_label: str
    systems: Sequence[str]
    quality: Sequence[ScoreRow]
    variety: Sequence[ScoreRow]
    duels: Sequence[Duel]
    cards: Sequence[Card]
    is_chosen: bool
    image_metric: str
    frequent: Mapping[str, Sequence[FrequentCaption]]
    decoding: Sequence[Fact]
    facts: Sequence[Fact]
    signature: str
    signatures: Sequence[str]


def write_comparison(inputs: ComparisonInputs, path: Path) -> None:
    """Write a comparison as one HTML file that opens offline.

    Raises:
        OutputError: The file cannot be written.
    """
    write_page(path, "comparison.html", content=build_comparison(inputs))


def build_comparison(inputs: ComparisonInputs) -> ComparisonPage:
    """Compute everything that the page shows."""
    evaluation = inputs.evaluation
    main, image_metric = evaluation.main_metric, evaluation.main_image_metric
    names = list(evaluation.scores)
    headline, sentence = describe_ranking(evaluation)
    scored = set(evaluation.scores[names[0]].image_ids)
    captions = {
        name: [p.caption for p in inputs.systems[name] if p.image_id in scored] for name in names
    }
    return ComparisonPage(
        title=", ".join(names),
        headline=headline,
        sentence=sentence,
        warnings=warn_of_collapses(evaluation, inputs.systems, records=inputs.records),
        num_images=evaluation.num_images,
        left_out=len(evaluation.left_out),
        main_label=metric_label(main),
        systems=names,
        quality=quality_rows(evaluation, names),
        variety=variety_rows(evaluation, names, records=inputs.records),
        duels=[
            Duel(p.against, p.system, describe_change(main, tests[main]))
            for p, tests in evaluation.tests.items()
            if main in tests
        ],
        cards=_chosen_cards(inputs) if inputs.chosen else _scored_cards(inputs, image_metric),
        is_chosen=bool(inputs.chosen),
        image_metric=metric_label(image_metric) if image_metric and not inputs.chosen else "",
        frequent={n: frequent_captions(own, limit=5) for n, own in captions.items()},
        decoding=[Fact(key, str(value)) for key, value in inputs.generate],
        facts=inputs.facts,
        signature=evaluation.run_signature,
        signatures=list(evaluation.scores[names[0]].signatures.values()),
    )


def _scored_cards(inputs: ComparisonInputs, metric: str | None) -> list[Card]:
    """Return cards of images where the models differ most, where all do badly, and random ones."""
    evaluation = inputs.evaluation
    names = list(evaluation.scores)
    ids = evaluation.scores[names[0]].image_ids
    sign = -1.0 if metric is not None and is_lower_better(metric) else 1.0
    values = {
        name: evaluation.scores[name].per_image[metric] if metric else [math.nan] * len(ids)
        for name in names
    }
    columns = list(zip(*values.values(), strict=True))
    # The other models are compared with the first.
    gains = [max((sign * v for v in row[1:]), default=math.nan) - sign * row[0] for row in columns]
    quality = [max(sign * value for value in row) for row in columns]
    captions = _captions_by_image(inputs)
    records = {record.image_id: record for record in inputs.records}
    return [
        make_card(
            records[ids[choice.place]],
            {name: captions[name][ids[choice.place]] for name in names},
            scores={name: float(values[name][choice.place]) for name in names},
            gain=float(gains[choice.place]),
            reasons=choice.reasons,
        )
        for choice in choose_images(gains, quality, size=inputs.gallery_size, seed=inputs.seed)
    ]


def _chosen_cards(inputs: ComparisonInputs) -> list[Card]:
    captions = _captions_by_image(inputs)
    return [
        make_card(
            record,
            {name: own.get(record.image_id, "") for name, own in captions.items()},
            scores={},
            gain=math.nan,
            reasons=("chosen",),
        )
        for record in inputs.chosen
    ]


def _captions_by_image(inputs: ComparisonInputs) -> dict[str, dict[str, str]]:
    return {
        name: {p.image_id: p.caption for p in predictions}
        for name, predictions in inputs.systems.items()
    }
