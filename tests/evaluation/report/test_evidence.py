"""The top of a report: pictures, ruler, sentence and suggestions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from captune.evaluation import ReportInputs, RunSettings
from captune.evaluation.report.build import build_report
from captune.evaluation.report.evidence.hero import choose_heroes
from captune.evaluation.report.evidence.next_steps import suggest_steps
from captune.evaluation.report.evidence.ruler import draw_ruler, score_human
from captune.evaluation.report.gallery.items import GalleryItem
from captune.evaluation.report.score_rows import describe_wins
from captune.evaluation.report.training_log import parse_training_log
from captune.evaluation.verdict import Verdict
from captune.metrics import score
from captune.recipe import Recipe, load_recipe
from captune.records import CaptionRecord

DEMO = load_recipe("demo")


def item(place: int, gain: float, quality: float) -> GalleryItem:
    return GalleryItem(place, f"{place}.png", (), 0, (), gain, quality)


def test_the_pictures_are_the_biggest_gain_the_median_and_the_worst() -> None:
    items = [item(0, 0.1, 5), item(1, 2.0, 4), item(2, 0.3, 1), item(3, 0.0, 3), item(4, 0.2, 2)]
    chosen = choose_heroes(items, has_baseline=True)
    assert [(kind, own.place) for kind, _, own in chosen] == [
        ("gain", 1),
        ("typical", 3),
        ("failure", 2),
    ]


def test_without_a_baseline_the_best_caption_is_shown() -> None:
    items = [item(n, math.nan, quality) for n, quality in enumerate([1.0, 3.0, 2.0])]
    chosen = choose_heroes(items, has_baseline=False)
    assert [(label, own.place) for _, label, own in chosen] == [
        ("Best caption", 1),
        ("Typical", 2),
        ("Failure", 0),
    ]


def test_two_images_are_too_few_for_three_pictures() -> None:
    assert choose_heroes([item(0, 1.0, 1.0), item(1, 2.0, 2.0)], has_baseline=True) == []


def test_one_human_is_scored_against_the_others(
    inputs: ReportInputs, records: list[CaptionRecord]
) -> None:
    found = score_human(inputs.evaluation, records, seed=7)
    assert found is not None
    expected = score(
        {r.image_id: list(r.captions[1:]) for r in records},
        {r.image_id: r.captions[0] for r in records},
        metrics=("cider",),
    )
    assert found[0] == pytest.approx(expected.metrics["cider"])


def test_images_with_one_caption_each_have_no_human_score(inputs: ReportInputs) -> None:
    single = [replace(record, captions=record.captions[:1]) for record in inputs.records]
    assert score_human(inputs.evaluation, single, seed=7) is None


def test_the_ruler_starts_at_zero_and_holds_all_intervals(inputs: ReportInputs) -> None:
    labels = {"constant_caption": ("Constant", "constant"), "after": ("After", "after")}
    ruler = draw_ruler(inputs.evaluation, labels, records=inputs.records, seed=7)
    assert ruler is not None
    assert [mark.label for mark in ruler.marks] == ["Constant", "After", "One human"]
    assert ruler.ticks[0] == (0.0, "0")
    for mark in ruler.marks:
        assert 0 <= mark.start <= mark.start + mark.width <= 100
        assert mark.start - 1e-9 <= mark.at <= mark.start + mark.width + 1e-9


def test_the_sentence_counts_images_and_names_the_typical_mistake(inputs: ReportInputs) -> None:
    sentence = build_report(inputs).evidence.sentence
    assert sentence.startswith("Better on 5 of 6 images, equal on 1.")
    assert "Typical mistake: wrong object (1 image)." in sentence


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((300, 0, 0), "Better on all 300 images."),
        ((1, 0, 0), "Better on 1 image."),
        ((58, 0, 2), "Better on 58 of 60 images, worse on 2."),
        ((0, 4, 0), "Better on 0 of 4 images, equal on 4."),
    ],
)
def test_the_sentence_counts_only_what_occurs(
    inputs: ReportInputs, counts: tuple[int, int, int], expected: str
) -> None:
    change = build_report(inputs).main_change
    assert change is not None
    wins, ties, losses = counts
    assert describe_wins(replace(change, wins=wins, ties=ties, losses=losses)) == expected


def steps_of(inputs: ReportInputs, *findings: str, outcome: str = "better") -> list[str]:
    verdict = Verdict(outcome, "", "", (), frozenset(findings))  # type: ignore[arg-type]
    return [step.title for step in suggest_steps(inputs, verdict)]


def with_source(inputs: ReportInputs, recipe: Recipe = DEMO, problem: str = "") -> ReportInputs:
    many = replace(inputs, source=RunSettings("runs/my run", recipe, problem))
    return replace(many, log=type(inputs.log)({}))


def test_collapsed_captions_suggest_a_lower_rate_with_a_command(inputs: ReportInputs) -> None:
    own = with_source(inputs)
    verdict = Verdict("doubtful", "", "", (), frozenset({"collapse"}))
    step = suggest_steps(own, verdict)[0]
    assert step.title == "Lower the learning rate"
    rate = f"{DEMO.train.learning_rate / 3:.1g}"
    assert step.command == (
        f"captune run 'runs/my run/recipe.yaml' --set train.learning_rate={rate}"
        " --out 'runs/my run-slower'"
    )


def test_few_steps_of_a_new_model_suggest_more_epochs_instead_of_a_lower_rate(
    inputs: ReportInputs,
) -> None:
    own = with_source(inputs)
    assert own.source is not None
    short = replace(own, source=replace(own.source, steps=36))
    verdict = Verdict("doubtful", "", "", (), frozenset({"collapse"}))
    step = suggest_steps(short, verdict)[0]
    assert (step.title, step.reason[:17]) == ("Train longer", "36 steps are few ")
    # 9 epochs are 36 steps, 250 are 1,000.
    assert "--set train.epochs=250 --out 'runs/my run-longer'" in step.command
    titles = [each.title for each in suggest_steps(short, verdict)]
    assert titles.count("Train longer") == 1
    assert "Lower the learning rate" not in titles


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (["model.size=null", "model.checkpoint=a/b"], 36),
        ([], 500),
        (["train.max_steps=36"], 36),
    ],
)
def test_pretrained_long_or_limited_runs_are_not_called_short(
    inputs: ReportInputs, settings: list[str], steps: int
) -> None:
    own = with_source(inputs, load_recipe("demo", settings))
    assert own.source is not None
    short = replace(own, source=replace(own.source, steps=steps))
    assert steps_of(short, "collapse", outcome="doubtful")[0] == "Lower the learning rate"


def test_cut_captions_suggest_twice_the_tokens(inputs: ReportInputs) -> None:
    verdict = Verdict("better", "", "", (), frozenset({"cut"}))
    step = suggest_steps(with_source(inputs), verdict)[0]
    assert step.title == "Allow longer captions"
    assert "--set generate.max_new_tokens=40" in step.command


def test_duplicates_suggest_cleaning(inputs: ReportInputs) -> None:
    titles = steps_of(with_source(inputs, problem="3 images occur twice."))
    assert "Clean the data" in titles


@pytest.mark.parametrize(
    ("losses", "title"),
    [
        ((3.0, 2.0), "Train longer"),
        ((2.0, 3.0), "Train shorter, or with more images"),
    ],
)
def test_the_validation_loss_suggests_how_long_to_train(
    inputs: ReportInputs, losses: tuple[float, float], title: str
) -> None:
    lines = [f'{{"step": {n}, "val_loss": {loss}}}' for n, loss in enumerate(losses, start=1)]
    own = replace(with_source(inputs), log=parse_training_log(lines))
    assert title in steps_of(own)


def test_a_good_model_is_suggested_for_use(inputs: ReportInputs) -> None:
    assert "Caption your images" in steps_of(with_source(inputs))
    assert "Caption your images" not in steps_of(with_source(inputs), outcome="worse")
