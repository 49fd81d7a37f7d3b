"""sacrebleu, rouge_score and jiwer: our sums against the libraries' corpus values."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.errors import MetricError
from captune.metrics import compute
from captune.metrics.scores.wrapped import MAX_WORD_PAIRS, sacrebleu_from_parts

sentences = st.lists(st.sampled_from(["a", "B", "dog,", "runs."]), max_size=7).map(" ".join)
cases = st.lists(
    st.tuples(sentences, st.lists(sentences.filter(bool), min_size=1, max_size=3)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(cases)
def test_sacrebleu_equals_the_library(case: list[tuple[str, list[str]]]) -> None:
    references = {str(i): own for i, (_, own) in enumerate(case)}
    predictions = {str(i): caption for i, (caption, _) in enumerate(case)}
    results = compute(references, predictions, metrics=["sacrebleu"])
    most = max(len(own) for _, own in case)
    streams = [[own[k] if k < len(own) else None for _, own in case] for k in range(most)]
    corpus = sacrebleu.BLEU(lowercase=True).corpus_score([c for c, _ in case], streams)
    assert results.corpus["sacrebleu"] == pytest.approx(corpus.score, abs=1e-9)
    single = sacrebleu.BLEU(lowercase=True, effective_order=True)
    expected = [single.sentence_score(caption, own).score for caption, own in case]
    np.testing.assert_allclose(results.per_image["sacrebleu"], expected, rtol=0, atol=1e-9)


def test_sacrebleu_of_sums_without_matches_is_zero() -> None:
    parts = np.array([[5.0, 5, 5, 4, 3, 2, 0, 0, 0, 0], [0.0] * 10])
    assert sacrebleu_from_parts(parts, effective_order=False).tolist() == [0.0, 0.0]


def test_rouge_uses_the_best_reference_for_each_kind() -> None:
    results = compute(
        {"1": ["a dog", "the dogs were running far"]},
        {"1": "dog runs far away"},
        metrics=["rouge"],
    )
    # Stems: "the dog were run far" against "dog run far away": 3 words of 4 and of 5.
    assert results.corpus["rouge1"] == pytest.approx(2 * 0.75 * 0.6 / 1.35, abs=1e-12)
    # One pair "run far" of 3 and of 4.
    assert results.corpus["rouge2"] == pytest.approx(2 * (1 / 3) * 0.25 / (1 / 3 + 0.25), abs=1e-12)
    assert results.corpus["rougeL"] == results.corpus["rougeLsum"]


def test_word_error_rates_equal_values_computed_by_hand() -> None:
    references = {"1": ["a dog runs far", "a dog"], "2": ["cats sit"]}
    results = compute(references, {"1": "A dog", "2": "cats sit here"}, metrics=["word_errors"])
    assert results.per_image["wer"].tolist() == [0.0, 0.5]
    assert results.corpus["wer"] == pytest.approx(0.25)
    # Two deletions and one insertion against 4 + 2 words of the first references.
    assert results.per_image["wer_first"].tolist() == [0.5, 0.5]
    assert results.corpus["wer_first"] == pytest.approx(3 / 6)


def test_word_errors_against_an_empty_reference_are_the_number_of_words() -> None:
    results = compute(
        {"1": [" "], "2": ["a dog"]}, {"1": "a dog", "2": ""}, metrics=["word_errors"]
    )
    assert results.per_image["wer"].tolist() == [2.0, 1.0]
    assert results.corpus["wer_first"] == pytest.approx(4 / 2)


@pytest.mark.parametrize("blank", [" ", "-"])
def test_captions_too_long_for_rouge_score_are_an_error_that_names_the_image(blank: str) -> None:
    side = int(MAX_WORD_PAIRS**0.5) + 1
    long = blank.join(["dog"] * side)
    with pytest.raises(MetricError, match=f"{side} words against a reference of {side}") as caught:
        compute({"1": ["a"], "7": ["b", long]}, {"1": "a", "7": long}, metrics=["rouge"])
    assert caught.value.where == "image_id 7"


def test_ten_thousand_words_against_a_common_reference_are_scored() -> None:
    results = compute({"1": ["a dog runs"]}, {"1": "dog " * 10_000}, metrics=["rouge"])
    assert 0 < results.corpus["rougeL"] < 0.001
