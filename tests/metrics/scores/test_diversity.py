"""Diversity, the constant caption, and copies, against values by hand and slow twins."""

from __future__ import annotations

import numpy as np

from captune.metrics import (
    References,
    compute,
    constant_caption_baseline,
    measure_copied_share,
)
from captune.metrics.scores.diversity import rate_constant_captions


def test_diversity_equals_values_computed_by_hand() -> None:
    references = {str(i): ["a"] for i in range(4)}
    predictions = {"0": "A dog.", "1": "a dog", "2": "a red dog", "3": "cats"}
    results = compute(references, predictions, metrics=["diversity"])
    assert results.corpus == {
        "distinct_1": 4 / 8,
        "distinct_2": 3 / 4,
        "vocabulary_size": 4.0,
        "distinct_captions": 3 / 4,
        "most_frequent_share": 2 / 4,
        "mean_length": 2.0,
    }
    assert results.per_image["mean_length"].tolist() == [2.0, 2.0, 3.0, 1.0]


def test_predictions_without_words_have_no_variety() -> None:
    results = compute({"1": ["a"], "2": ["b"]}, {"1": "", "2": "!"}, metrics=["diversity"])
    assert results.corpus["distinct_1"] == results.corpus["distinct_2"] == 0.0
    assert results.corpus["distinct_captions"] == 0.5


def test_the_constant_caption_scores_best_for_all_other_images() -> None:
    captions = {
        "1": ["a dog runs on grass", "a brown dog on the grass"],
        "2": ["a dog plays on grass"],
        "3": ["a cat sleeps", "a cat on grass"],
        "4": ["people ride bikes in a city"],
    }
    texts = [caption for own in captions.values() for caption in own]
    references = References(captions)
    expected = []
    for image_id, own in captions.items():
        others = {key: value for key, value in captions.items() if key != image_id}
        for caption in own:
            results = compute(
                others,
                dict.fromkeys(others, caption),
                metrics=["cider_plain"],
                frequencies=references.frequencies,
            )
            expected.append(results.corpus["cider_plain"])
    np.testing.assert_allclose(rate_constant_captions(references), expected, atol=1e-12)
    assert constant_caption_baseline(captions) == texts[int(np.argmax(expected))]


def test_without_weights_the_constant_caption_is_the_most_frequent_one() -> None:
    assert constant_caption_baseline({"1": ["a cat", "a dog", "a dog"]}) == "a dog"
    assert constant_caption_baseline({"1": ["..."], "2": ["!"]}) == "..."


def test_copies_are_found_despite_other_case_and_punctuation() -> None:
    training = ["A dog runs.", "Two cats"]
    predictions = {"1": "a dog runs", "2": "two cats sit", "3": "two, cats!", "4": "x"}
    assert measure_copied_share(predictions, training) == 0.5
    assert measure_copied_share({}, training) == 0.0
