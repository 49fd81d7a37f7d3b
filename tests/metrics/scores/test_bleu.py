"""COCO BLEU against values by hand and a slow twin."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.metrics import compute

sentences = st.lists(st.sampled_from(["a", "b", "dog", "runs"]), max_size=7).map(" ".join)
cases = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1)


def slow_counts(prediction: str, references: list[str]) -> list[int]:
    own = prediction.split()
    others = [reference.split() for reference in references]
    closest = min((abs(len(o) - len(own)), len(o)) for o in others)[1]
    guesses, correct = [], []
    for order in range(1, 5):
        counted = [
            Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
            for words in [own, *others]
        ]
        guesses.append(max(0, len(own) - order + 1))
        correct.append(
            sum(min(n, max(c[gram] for c in counted[1:])) for gram, n in counted[0].items())
        )
    return [len(own), closest, *guesses, *correct]


def slow_bleu(counts: list[int], order: int) -> float:
    words, reference_words = counts[:2]
    product = 1.0
    for n in range(order):
        product *= (counts[6 + n] + 1e-15) / (counts[2 + n] + 1e-9)
    ratio = (words + 1e-15) / (reference_words + 1e-9)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return float(product ** (1 / order) * penalty)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_bleu_equals_the_slow_twin(case: list[tuple[str, list[str]]]) -> None:
    references = {str(i): own for i, (_, own) in enumerate(case)}
    predictions = {str(i): caption for i, (caption, _) in enumerate(case)}
    results = compute(references, predictions, metrics=["bleu"])
    counts = [slow_counts(caption, own) for caption, own in case]
    for order in range(1, 5):
        name = f"bleu_{order}"
        single = [slow_bleu(row, order) for row in counts]
        np.testing.assert_allclose(results.per_image[name], single, rtol=1e-12, atol=1e-15)
        whole = slow_bleu([sum(column) for column in zip(*counts, strict=True)], order)
        assert results.corpus[name] == pytest.approx(whole, rel=1e-12, abs=1e-15)


def test_matches_are_clipped_by_the_reference_with_the_most_occurrences() -> None:
    results = compute({"1": ["the cat", "the the cat"]}, {"1": "the the the"}, metrics=["bleu_1"])
    assert results.corpus["bleu_1"] == pytest.approx(2 / 3, abs=1e-9)


def test_the_shorter_of_two_equally_close_reference_lengths_counts() -> None:
    # Lengths 2 and 4 against 3: with 2 there is no penalty, with 4 it would be exp(-1/3).
    results = compute({"1": ["a b c d", "a b"]}, {"1": "a b c"}, metrics=["bleu_1"])
    assert results.corpus["bleu_1"] == pytest.approx(1.0, abs=1e-9)


def test_the_corpus_value_is_computed_from_summed_counts_not_a_mean() -> None:
    references = {"1": ["a b c d"], "2": ["e"]}
    results = compute(references, {"1": "a b c d", "2": "f"}, metrics=["bleu_1"])
    assert results.corpus["bleu_1"] == pytest.approx(4 / 5, abs=1e-9)
    assert results.per_image["bleu_1"].mean() == pytest.approx(1 / 2, abs=1e-9)


def test_an_empty_prediction_scores_zero() -> None:
    results = compute({"1": ["a dog"], "2": ["..."]}, {"1": "", "2": ""}, metrics=["bleu"])
    assert [results.per_image[f"bleu_{n}"].tolist() for n in (1, 4)] == [[0.0, 0.0]] * 2
