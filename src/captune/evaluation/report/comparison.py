"""comparison.html: any number of models on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from captune.evaluation.compare import Evaluation
from captune.evaluation.labels import metric_label
from captune.evaluation.report.evidence.copies import ScoreCopy, copy_scores
from captune.evaluation.report.evidence.ruler import Ruler, draw_ruler
from captune.evaluation.report.facts import Fact
from captune.evaluation.report.gallery.cards import Card, choose_cards, make_card
from captune.evaluation.report.gallery.items import GalleryItem, list_items, make_item
from captune.evaluation.report.gallery.rest import write_with_rest
from captune.evaluation.report.inputs import GALLERY_SIZE, HowMade, describe_origin
from captune.evaluation.report.page import write_page
from captune.evaluation.report.score_rows import (
    Change,
    ScoreRow,
    describe_change,
    quality_rows,
    variety_rows,
)
from captune.evaluation.report.words.caption_shapes import FrequentCaption, frequent_captions
from captune.evaluation.report.words.mistake_groups import MistakeGroup, group_mistakes
from captune.evaluation.report.words.mistakes import learn_things
from captune.evaluation.verdict import describe_ranking, warn_of_collapses
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction
from captune.suggest import format_count
from captune.text_safety import clean_text


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
        cautions: More reasons to doubt the scores, one sentence each.
    """

    records: Sequence[CaptionRecord]
    systems: Mapping[str, Sequence[Prediction]]
    evaluation: Evaluation
    generate: GenerateConfig
    seed: int
    chosen: Sequence[CaptionRecord] = ()
    facts: Sequence[Fact] = field(default_factory=tuple)
    gallery_size: int = GALLERY_SIZE
    cautions: Sequence[str] = ()


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
    images: str
    left_out: int
    main_label: str
    systems: Sequence[str]
    quality: Sequence[ScoreRow]
    variety: Sequence[ScoreRow]
    duels: Sequence[Duel]
    ruler: Ruler | None
    groups: Sequence[MistakeGroup]
    cards: Sequence[Card]
    files: str
    has_similarity: bool
    copies: Sequence[ScoreCopy]
    is_chosen: bool
    image_metric: str
    frequent: Mapping[str, Sequence[FrequentCaption]]
    how: HowMade


def write_comparison(inputs: ComparisonInputs, path: Path) -> None:
    """Write a comparison as one HTML file that opens offline.

    As for a report, all images are in a folder beside it if the file does not hold them.

    Raises:
        OutputError: The file or the folder cannot be written.
    """
    page, items = _build(inputs)
    by_id = {record.image_id: record for record in inputs.records}
    ids = next(iter(inputs.evaluation.scores.values())).image_ids
    write_with_rest(
        path,
        lambda files: write_page(
            path, "comparison.html", content=replace(page, files=files), has_files=bool(files)
        ),
        items=items,
        records=[by_id[image_id] for image_id in ids],
        is_needed=not inputs.chosen and len(page.cards) < len(items),
    )


def build_comparison(inputs: ComparisonInputs) -> ComparisonPage:
    """Compute everything that the page shows."""
    return _build(inputs)[0]


def _build(inputs: ComparisonInputs) -> tuple[ComparisonPage, list[GalleryItem]]:
    evaluation = inputs.evaluation
    main, image_metric = evaluation.main_metric, evaluation.main_image_metric
    names = list(evaluation.scores)
    headline, sentence = describe_ranking(evaluation)
    ids = evaluation.scores[names[0]].image_ids
    scored, of_id = set(ids), {record.image_id: record for record in inputs.records}
    records = [of_id[image_id] for image_id in ids]
    captions = {
        name: [p.caption for p in inputs.systems[name] if p.image_id in scored] for name in names
    }
    things = learn_things(caption for record in records for caption in record.captions)
    items = list_items(
        evaluation,
        {name: inputs.systems[name] for name in names},
        records=inputs.records,
        things=things,
        quality_of=names,
    )
    page = ComparisonPage(
        title=", ".join(names),
        headline=headline,
        sentence=sentence,
        warnings=_list_warnings(inputs),
        num_images=evaluation.num_images,
        images=format_count(evaluation.num_images, "image"),
        left_out=len(evaluation.left_out),
        main_label=metric_label(main),
        systems=[clean_text(name) for name in names],
        quality=quality_rows(evaluation, names),
        variety=variety_rows(evaluation, names, records=inputs.records),
        duels=_list_duels(evaluation),
        ruler=draw_ruler(
            evaluation,
            {name: (name, f"system-{place % 6}") for place, name in enumerate(names)},
            records=inputs.records,
            seed=inputs.seed,
        ),
        groups=group_mistakes(items, records, things=things),
        cards=_chosen_cards(inputs)
        if inputs.chosen
        else choose_cards(items, records, size=inputs.gallery_size, seed=inputs.seed),
        files="",
        has_similarity=any(math.isfinite(item.similarity) for item in items),
        copies=copy_scores(evaluation, {}),
        is_chosen=bool(inputs.chosen),
        image_metric=metric_label(image_metric) if image_metric and not inputs.chosen else "",
        frequent={n: frequent_captions(own, limit=5) for n, own in captions.items()},
        how=describe_origin(evaluation, inputs.facts, generate=inputs.generate),
    )
    return page, items


def _list_warnings(inputs: ComparisonInputs) -> list[str]:
    collapses = warn_of_collapses(inputs.evaluation, inputs.systems, records=inputs.records)
    return [*inputs.cautions, *collapses]


def _list_duels(evaluation: Evaluation) -> list[Duel]:
    main = evaluation.main_metric
    return [
        Duel(pair.against, pair.system, describe_change(main, tests[main]))
        for pair, tests in evaluation.tests.items()
        if main in tests
    ]


def _chosen_cards(inputs: ComparisonInputs) -> list[Card]:
    """Return cards of the requested images; nothing is sought or scored in them."""
    captions = {
        name: {p.image_id: p.caption for p in predictions}
        for name, predictions in inputs.systems.items()
    }
    return [
        make_card(
            record,
            make_item(
                record,
                {name: own.get(record.image_id, "") for name, own in captions.items()},
                place=place,
            ),
            reasons=("chosen",),
        )
        for place, record in enumerate(inputs.chosen)
    ]
