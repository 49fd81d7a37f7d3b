"""Several captions per image: Div, mBLEU and self-CIDEr, by hand and against slow twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from captune.errors import MetricError
from captune.metrics import (
    METRIC_GROUPS,
    DocumentFrequencies,
    MetricInputs,
    References,
    compute,
    measure_samples,
    require_metrics,
    self_cider,
)

REFERENCES = {"1": ["a red dog runs", "a dog"], "2": ["a blue cat sits"], "3": ["two birds fly"]}
PREDICTIONS = {"1": "a dog", "2": "a cat", "3": "birds"}
SAMPLES = {
    "3": ["two birds", "a bird flies", ""],
    "1": ["A dog runs.", "a dog runs", "the red dog runs on"],
    "2": ["a cat sits on a mat", "one blue cat sits", "a cat"],
}


def score(samples: Any, **settings: Any) -> Any:
    inputs = MetricInputs(samples=samples, **settings)
    return compute(REFERENCES, PREDICTIONS, metrics=["samples"], inputs=inputs)


def test_diversity_of_samples_equals_values_computed_by_hand() -> None:
    diversity = measure_samples({"1": ["a dog", "a dog"], "2": ["a cat", "two birds"]})
    assert diversity.div_1 == pytest.approx((2 / 4 + 4 / 4) / 2, abs=1e-6)
    assert diversity.div_2 == pytest.approx((1 / 4 + 2 / 4) / 2, abs=1e-6)
    assert diversity.vocabulary_size == 5
    # In both directions, 2 of 4 words are also in the other caption of the image.
    assert diversity.mbleu[0] == pytest.approx(0.5, abs=1e-9)


def test_div_of_each_image_equals_values_computed_by_hand() -> None:
    values = score(SAMPLES).per_image
    # Image 3: two-birds, a-bird and bird-flies are the pairs of its five words.
    np.testing.assert_allclose(values["div_1"], [6 / 11, 7 / 12, 5 / 5], atol=1e-6)
    np.testing.assert_allclose(values["div_2"], [5 / 11, 7 / 12, 3 / 5], atol=1e-6)


def test_mbleu_is_the_mean_bleu_of_each_position_against_the_others() -> None:
    results = score(SAMPLES)
    names = METRIC_GROUPS["bleu"]
    slow = [
        compute(
            {key: own[:place] + own[place + 1 :] for key, own in SAMPLES.items()},
            {key: own[place] for key, own in SAMPLES.items()},
            metrics=names,
        )
        for place in range(3)
    ]
    for own, name in zip(METRIC_GROUPS["mbleu"], names, strict=True):
        expected = np.mean([each.corpus[name] for each in slow])
        assert results.corpus[own] == pytest.approx(expected, abs=1e-12)
        reordered = np.mean([each.per_image[name] for each in slow], axis=0)[[1, 2, 0]]
        np.testing.assert_allclose(results.per_image[own], reordered, atol=1e-12)


def test_parts_of_all_images_give_the_corpus_value() -> None:
    results = score(SAMPLES)
    for name, statistic in results.statistics.items():
        value = float(statistic.corpus_value(statistic.parts.sum(axis=0)))
        assert value == pytest.approx(results.corpus[name], abs=1e-12), name
    assert set(results.statistics) == set(METRIC_GROUPS["samples"])


def test_self_cider_weighs_words_by_the_references_or_by_given_frequencies() -> None:
    own = References(REFERENCES).frequencies
    expected = self_cider(SAMPLES, own)
    results = score(SAMPLES)
    assert results.per_image["self_cider"].tolist() == [expected[key] for key in "123"]
    assert "df:corpus" in results.signatures["self_cider"]
    given = DocumentFrequencies.of_ngrams({("dog",): 3}, num_documents=10, name="dogs")
    other = score(SAMPLES, frequencies=given)
    assert other.corpus["self_cider"] != results.corpus["self_cider"]
    assert "df:dogs" in other.signatures["self_cider"]


def test_equal_captions_have_no_variety() -> None:
    same = {key: ["a dog runs on grass"] * 3 for key in REFERENCES}
    corpus = score(same).corpus
    assert corpus["mbleu_4"] == pytest.approx(1.0, abs=1e-6)
    assert corpus["self_cider"] == pytest.approx(0.0, abs=1e-6)
    assert corpus["div_1"] == pytest.approx(1 / 3, abs=1e-6)


def test_signatures_state_the_number_of_samples() -> None:
    assert "variant:coco|reflen:closest|samples:3|tok:ptb" in score(SAMPLES).signatures["mbleu_4"]


@pytest.mark.parametrize("samples", [{"1": ["a"]}, {"1": ["a", "b"], "2": ["a", "b", "c"]}])
def test_every_image_must_have_the_same_number_of_samples(samples: dict[str, list[str]]) -> None:
    with pytest.raises(MetricError, match="images have") as caught:
        measure_samples(samples)
    assert caught.value.where == "image_id 1"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"1": ["a", "b"], "9": ["a", "b"]}, r"2 without samples \(2, 3\); 1 without references"),
        ({**SAMPLES, "2": ["a", "b"]}, "images have 2 to 3 captions"),
        ({**SAMPLES, "2": ["a", "b", None]}, "image 2 is None"),
    ],
)
def test_samples_of_other_images_are_named(samples: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        score(samples)


def test_sample_metrics_need_samples() -> None:
    with pytest.raises(MetricError, match="mbleu_1 compares several captions") as caught:
        require_metrics(["mbleu"])
    assert caught.value.fix == "give them: captune score --samples FILE"
    assert "self_cider" not in require_metrics(["all"])
