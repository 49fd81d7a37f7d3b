"""Scores of systems on the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from captune.errors import DataError, MetricError
from captune.evaluation import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    ScoringOptions,
    SystemPair,
    choose_scored,
    compare_systems,
    describe_decoding,
    score_run,
)
from captune.metrics import compute
from captune.recipe import GenerateConfig, Recipe
from captune.records import CaptionRecord, Prediction, Scores


def score(
    records: list[CaptionRecord], predictions: list[Prediction], *, options: ScoringOptions
) -> Scores:
    return compare_systems(records, {"model": predictions}, options=options).scores["model"]


def test_scores_equal_those_of_the_metrics_on_all_references(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    scores = score(records, after, options=options)
    direct = compute(
        {r.image_id: r.captions for r in records},
        {p.image_id: p.caption for p in after},
        metrics=options.metrics,
    )
    assert dict(scores.metrics) == dict(direct.corpus)
    assert scores.image_ids == tuple(r.image_id for r in records)
    assert scores.metrics["distinct_captions"] == 1.0
    assert np.allclose(scores.per_image["cider"], direct.per_image["cider"])
    assert (
        scores.intervals["cider"].low <= scores.metrics["cider"] <= scores.intervals["cider"].high
    )


def test_the_order_of_predictions_does_not_matter(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    turned = score(records, after[::-1], options=options)
    assert turned == score(records, after, options=options)


def test_max_references_keeps_the_first_ones(
    records: list[CaptionRecord], options: ScoringOptions
) -> None:
    second = [Prediction(r.image_id, r.captions[1], -1.0, 3, "eos") for r in records]
    one = replace(options, max_references=1)
    assert score(records, second, options=options).metrics["wer"] == 0.0
    assert score(records, second, options=one).metrics["wer"] > 0.5
    assert "max_refs:1" in score(records, second, options=one).signature


def test_the_signature_states_split_references_decoding_versions(evaluation: Evaluation) -> None:
    signature = evaluation.scores[AFTER].signature
    assert signature.startswith(
        "split:test|refs:2|images:6|decoding:num_beams=5,max_new_tokens=20|"
    )
    for part in ("bootstrap:200", "seed:7", "captune:", "transformers:", "torch:", "tok:ptb-3.4.1"):
        assert part in signature
    assert "\n" not in signature


def test_decoding_names_only_settings_that_are_not_default() -> None:
    assert describe_decoding(GenerateConfig()) == "num_beams=3,max_new_tokens=30"
    assert (
        describe_decoding(GenerateConfig(length_penalty=0.7, prompt="a photo of"))
        == "num_beams=3,max_new_tokens=30,length_penalty=0.7,prompt='a photo of'"
    )


def test_images_without_a_prediction_or_a_caption_are_not_scored(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    bare = [*records, CaptionRecord("extra", b"")]
    scores = score(bare, after[1:], options=options)
    assert scores.image_ids == ("cat", "bird", "boat", "tree", "car")


def test_all_systems_are_scored_on_the_images_they_have_in_common(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
) -> None:
    evaluation = score_run(
        records, before=before[:-1], after=after[1:], training_records=(), options=options
    )
    for system in (BEFORE, AFTER, CONSTANT_CAPTION):
        assert evaluation.scores[system].image_ids == ("cat", "bird", "boat", "tree")
    assert evaluation.left_out == ("dog", "car")


def test_predictions_of_other_images_are_an_error_with_counts(
    records: list[CaptionRecord], options: ScoringOptions
) -> None:
    with pytest.raises(DataError, match="no image has both") as caught:
        score(records, [Prediction("z", "", 0.0, 0, "eos")], options=options)
    assert "6 images, 6 with captions, 1 predictions" in str(caught.value)


def test_an_unknown_metric_is_refused_with_a_suggestion(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    with pytest.raises(MetricError, match="did you mean 'cider'"):
        score(records, after, options=replace(options, metrics=("cidr",)))


def test_a_run_is_tested_against_before_and_against_a_constant_caption(
    evaluation: Evaluation,
) -> None:
    assert list(evaluation.scores) == [BEFORE, AFTER, CONSTANT_CAPTION]
    test = evaluation.test(BEFORE, AFTER)["wer"]
    assert test.delta < 0
    # Neither caption of the car shares a word with its references.
    assert (test.wins, test.ties, test.losses) == (5, 1, 0)
    assert evaluation.test(CONSTANT_CAPTION, AFTER)["cider"].delta > 0
    assert evaluation.test(AFTER, BEFORE) == {}


def test_the_constant_caption_comes_from_the_training_captions(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    training = [CaptionRecord("t", b"", ("a red thing sits on the grass",), "train")]
    run = score_run(records, before=None, after=after, training_records=training, options=options)
    assert run.constant_caption == "a red thing sits on the grass"
    assert run.constant_from == "training captions"
    assert list(run.scores) == [AFTER, CONSTANT_CAPTION]
    alone = score_run(records, before=None, after=after, training_records=(), options=options)
    assert alone.constant_caption in {c for r in records for c in r.captions}
    assert alone.constant_from == "the references themselves"


def test_the_main_metric_is_cider_or_else_the_next_best_known(
    records: list[CaptionRecord], after: list[Prediction], options: ScoringOptions
) -> None:
    def main(*metrics: str) -> tuple[str, str | None]:
        chosen = replace(options, metrics=metrics)
        run = score_run(records, before=None, after=after, training_records=(), options=chosen)
        return run.main_metric, run.main_image_metric

    assert main("bleu_4", "cider", "mean_length") == ("cider", "cider")
    assert main("mean_length", "wer") == ("wer", "wer")
    assert main("distinct_captions") == ("distinct_captions", None)


def test_every_pair_of_models_is_tested_once(
    records: list[CaptionRecord],
    before: list[Prediction],
    after: list[Prediction],
    options: ScoringOptions,
) -> None:
    systems = {"a": before, "b": after, "c": after}
    comparison = compare_systems(records, systems, options=options)
    pairs = [SystemPair("a", "b"), SystemPair("a", "c"), SystemPair("b", "c")]
    assert list(comparison.tests) == pairs
    same = comparison.test("b", "c")["cider"]
    assert (same.delta, same.wins, same.ties, same.losses, same.p_value) == (0.0, 0, 6, 0, 1.0)


def test_options_from_a_recipe_have_its_settings() -> None:
    recipe = Recipe.model_validate({"seed": 3, "evaluate": {"split": "val", "max_references": 2}})
    options = ScoringOptions.from_recipe(recipe)
    assert (options.seed, options.split, options.max_references) == (3, "val", 2)
    assert options.generate == recipe.generate


def test_the_images_drawn_do_not_depend_on_the_order_of_the_data(
    records: list[CaptionRecord],
) -> None:
    drawn = choose_scored(records, 3, seed=5)
    again = choose_scored(records[::-1], 3, seed=5)
    assert len(drawn) == 3
    assert [r.image_id for r in drawn] == [r.image_id for r in again][::-1]
    assert choose_scored(records, None, seed=5) == records
    assert choose_scored(records, 99, seed=5) == records


@pytest.mark.filterwarnings("ignore:CIDEr of one image is 0")
@pytest.mark.parametrize(("images", "least"), [(1, 1.0), (2, 0.5), (5, 1 / 16)])
def test_a_handful_of_images_does_not_prove_a_difference(
    records: list[CaptionRecord],
    before: list[Prediction],
    options: ScoringOptions,
    images: int,
    least: float,
) -> None:
    few = records[:images]
    wrong = before[:images]
    right = [replace(p, caption=r.captions[0]) for p, r in zip(wrong, few, strict=True)]
    systems = {"wrong": wrong, "right": right}
    test = compare_systems(few, systems, options=options).test("wrong", "right")["bleu_1"]
    assert test.delta > 0
    assert test.wins == images
    assert test.p_value == least
