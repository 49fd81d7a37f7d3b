"""The verdict in one sentence, and the warnings that keep it honest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from captune.evaluation import (
    Evaluation,
    ScoringOptions,
    Verdict,
    compare_systems,
    judge_run,
    score_run,
)
from captune.evaluation.verdict import (
    Occasion,
    describe_ranking,
    judge_test,
    warn_of_collapses,
)
from captune.metrics import PairedTest
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction


def captioned(captions: dict[str, str], *, finish: str = "eos") -> list[Prediction]:
    return [Prediction(i, text, -1.0, 5, finish) for i, text in captions.items()]  # type: ignore[arg-type]


@pytest.fixture
def many() -> list[CaptionRecord]:
    things = ["dog", "cat", "bird", "boat", "tree", "car", "house", "horse"]
    places = ["grass", "sand", "snow", "ice", "stone", "wood", "water", "hay"]
    return [
        CaptionRecord(f"{t} {p}", b"", (f"a {t} sits on the {p}", f"one {t} near {p} outside"))
        for t in things
        for p in places
    ]


def judge(
    many: list[CaptionRecord],
    options: ScoringOptions,
    *,
    before: dict[str, str] | None,
    after: dict[str, str],
    finish: str = "eos",
    occasion: Occasion = "run",
) -> Verdict:
    tuned = captioned(after, finish=finish)
    run = score_run(
        many,
        before=None if before is None else captioned(before),
        after=tuned,
        training_records=many,
        options=options,
    )
    return judge_run(run, tuned, records=many, occasion=occasion)


def true_captions(many: list[CaptionRecord]) -> dict[str, str]:
    return {r.image_id: r.captions[0] for r in many}


def dull_captions(many: list[CaptionRecord]) -> dict[str, str]:
    return {r.image_id: "a man in a field" for r in many}


def test_a_better_model_is_called_better_with_interval_p_and_images(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    verdict = judge(many, options, before=dull_captions(many), after=true_captions(many))
    assert verdict.outcome == "better"
    assert verdict.headline == "Training made the captions better."
    assert verdict.sentence.startswith("CIDEr went from 0.")
    assert "on 64 images: a change of +" in verdict.sentence
    assert "95\u00a0% interval +" in verdict.sentence
    # With 200 resamples no p value is below 1 / 201.
    assert verdict.sentence.endswith("p = 0.005).")
    assert verdict.warnings == ()


def test_a_worse_model_is_called_worse(many: list[CaptionRecord], options: ScoringOptions) -> None:
    verdict = judge(many, options, before=true_captions(many), after=dull_captions(many))
    assert verdict.outcome == "worse"
    assert "a change of −" in verdict.sentence


def test_a_baseline_is_another_model_and_not_an_earlier_state(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    verdict = judge(
        many,
        options,
        before=dull_captions(many),
        after=true_captions(many),
        occasion="evaluation",
    )
    assert verdict.headline == "The model is better than the baseline."
    assert "on 64 images, against 0." in verdict.sentence
    assert "for the baseline: a difference of +" in verdict.sentence


def test_identical_captions_make_no_measurable_difference(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    verdict = judge(many, options, before=true_captions(many), after=true_captions(many))
    assert verdict.outcome == "same"
    assert "±0.000" in verdict.sentence
    assert "p = 1.00" in verdict.sentence


def test_one_caption_for_every_image_is_doubtful_even_if_its_score_is_better(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    constant = {r.image_id: "a dog sits on the grass" for r in many}
    verdict = judge(many, options, before=dull_captions(many), after=constant)
    assert verdict.outcome == "doubtful"
    assert verdict.headline == "The score is better, but the captions have collapsed."
    assert "every image the caption “a dog sits on the grass”" in verdict.warnings[0]
    assert "does not measurably beat a constant caption" in verdict.warnings[1]


def test_a_few_captions_for_many_images_are_counted(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    few = {r.image_id: f"a {r.image_id.split()[0]} sits on the grass" for r in many}
    verdict = judge(many, options, before=None, after=few)
    assert verdict.outcome == "unknown"
    assert (
        "only 8 different captions for 64 images (first human captions: 64 different)"
        in verdict.warnings[0]
    )
    assert "occurs 8 times (12.5\u00a0%)" in verdict.warnings[0]


def test_captions_that_vary_as_little_as_human_ones_are_not_a_collapse(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    alike = [replace(r, captions=(f"a {r.image_id.split()[0]} here",)) for r in many]
    verdict = judge(alike, options, before=dull_captions(many), after=true_captions(alike))
    assert verdict.outcome == "better"
    assert verdict.warnings == ()


def test_a_single_model_is_not_called_better(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    verdict = judge(many, options, before=None, after=true_captions(many))
    assert verdict.outcome == "unknown"
    assert "no other model was scored" in verdict.sentence


def test_a_single_model_is_compared_with_the_constant_caption(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    good = judge(many, options, before=None, after=true_captions(many))
    assert good.headline == "The model beats a constant caption."
    assert "for the same caption on every image (p = 0.005)" in good.sentence
    dull = judge(many, options, before=None, after=dull_captions(many))
    assert dull.headline == "The model is worse than a constant caption."
    assert any(w.startswith("The model is worse than a constant caption") for w in dull.warnings)
    assert "constant" in dull.findings


@pytest.mark.parametrize(
    ("split", "picked_on", "warned"),
    [
        ("val", "val", "The val split also selected this checkpoint"),
        ("val", None, ""),
        ("test", "val", ""),
        ("train", None, "trained on the scored images"),
    ],
)
def test_a_split_that_took_part_in_training_raises_a_warning(
    many: list[CaptionRecord],
    options: ScoringOptions,
    split: str,
    picked_on: str | None,
    warned: str,
) -> None:
    after = captioned(true_captions(many))
    run = score_run(
        many,
        before=None,
        after=after,
        training_records=many,
        options=replace(options, split=split),
    )
    warnings = judge_run(run, after, records=many, picked_on=picked_on).warnings
    assert bool(warnings) == bool(warned)
    assert all(warned in warning for warning in warnings)


def test_captions_cut_off_by_the_token_limit_raise_a_warning(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    captions = true_captions(many)
    verdict = judge(many, options, before=None, after=captions, finish="length")
    assert "100\u00a0% of the captions were cut off by max_new_tokens" in verdict.warnings[0]


def test_few_images_raise_a_warning(
    evaluation: Evaluation, after: list[Prediction], records: list[CaptionRecord]
) -> None:
    verdict = judge_run(evaluation, after, records=records)
    assert "Only 6 images were scored" in verdict.warnings[-1]


def test_a_lower_error_rate_is_better() -> None:
    falling = PairedTest(-0.2, -0.3, -0.1, 0.004, 9, 0, 1)
    assert judge_test("wer", falling) == "better"
    assert judge_test("cider", falling) == "worse"
    assert judge_test("cider", replace(falling, p_value=0.05)) == "same"


def test_the_best_of_several_models_is_named_with_its_lead(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    systems = {"dull": captioned(dull_captions(many)), "true": captioned(true_captions(many))}
    headline, sentence = describe_ranking(compare_systems(many, systems, options=options))
    assert headline == "true is best."
    assert "for dull on 64 images: ahead by" in sentence
    turned = {"true": systems["true"], "dull": systems["dull"]}
    assert describe_ranking(compare_systems(many, turned, options=options)) == (headline, sentence)


def test_models_with_the_same_captions_cannot_be_distinguished(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    systems = {"a": captioned(true_captions(many)), "b": captioned(true_captions(many))}
    headline, sentence = describe_ranking(compare_systems(many, systems, options=options))
    assert headline == "a and b cannot be told apart."
    assert "no measurable difference (p = 1.00)" in sentence


def test_every_model_that_collapsed_is_named(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    systems = {"dull": captioned(dull_captions(many)), "true": captioned(true_captions(many))}
    comparison = compare_systems(many, systems, options=options)
    warnings = warn_of_collapses(comparison, systems, records=many)
    expected = "dull gives every image the caption “a man in a field”: it ignores the images."
    assert warnings == [expected]


def test_the_signature_of_a_run_does_not_include_those_of_the_metrics(
    many: list[CaptionRecord], options: ScoringOptions
) -> None:
    prompted = replace(options, generate=GenerateConfig(prompt="one; two"))
    comparison = compare_systems(many, {"a": captioned(true_captions(many))}, options=prompted)
    assert "prompt='one; two'" in comparison.run_signature
    assert "bleu_1" not in comparison.run_signature
