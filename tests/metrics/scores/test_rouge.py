"""COCO ROUGE-L against values by hand and a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.metrics import compute
from captune.metrics.packed import Vocabulary, pack_tokens
from captune.metrics.scores.rouge import longest_common_subsequences


def slow_common(one: list[str], other: list[str]) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        last, row = row, [0]
        for place, against in enumerate(other):
            row.append(last[place] + 1 if word == against else max(last[place + 1], row[-1]))
    return row[-1]


def measure(one: list[list[str]], other: list[list[str]]) -> list[int]:
    vocabulary = Vocabulary()
    packed = pack_tokens(one, vocabulary), pack_tokens(other, vocabulary)
    each = np.arange(len(one))
    return list(longest_common_subsequences(*packed, pairs=(each, each)).tolist())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(*[st.lists(st.sampled_from("abc"), max_size=80)] * 2), min_size=1))
def test_common_subsequences_equal_those_of_the_textbook_algorithm(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    one, other = [list(p[0]) for p in pairs], [list(p[1]) for p in pairs]
    assert measure(one, other) == [slow_common(a, b) for a, b in pairs]


@pytest.mark.parametrize("length", [7, 8, 9, 16, 17, 32, 33, 63, 64, 65, 200])
def test_every_width_of_integer_is_exact_at_its_limits(length: int) -> None:
    generator = np.random.default_rng(length)
    one = [["abcd"[i] for i in generator.integers(4, size=length)] for _ in range(5)]
    other = [["abcd"[i] for i in generator.integers(4, size=70)] for _ in range(5)]
    assert measure(one, other) == [slow_common(a, b) for a, b in zip(one, other, strict=True)]
    assert measure(one, one) == [length] * 5


def test_splitting_many_pairs_into_blocks_changes_nothing() -> None:
    generator = np.random.default_rng(1)
    one = [list(generator.choice(list("abc"), generator.integers(1, 60))) for _ in range(900)]
    other = [list(generator.choice(list("abc"), generator.integers(1, 60))) for _ in range(900)]
    assert measure(one, other) == [slow_common(a, b) for a, b in zip(one, other, strict=True)]


def test_best_precision_and_best_recall_may_come_from_two_references() -> None:
    # "a b": precision 1 against "a b c d", recall 1 against "a"; F of the two is 1.
    results = compute({"1": ["a b c d", "a"]}, {"1": "a b"}, metrics=["rouge_l"])
    assert results.corpus["rouge_l"] == pytest.approx(1.0, abs=1e-15)


def test_f_weighs_recall_by_beta() -> None:
    precision, recall = 2 / 3, 2 / 4
    expected = (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)
    results = compute({"1": ["a b c d"]}, {"1": "a x d"}, metrics=["rouge_l"])
    assert results.corpus["rouge_l"] == pytest.approx(expected, abs=1e-15)


def test_an_empty_caption_matches_an_empty_reference_as_in_the_reference_implementation() -> None:
    results = compute({"1": ["..."], "2": ["a dog"]}, {"1": "", "2": ""}, metrics=["rouge_l"])
    assert results.per_image["rouge_l"].tolist() == [1.0, 0.0]


def test_ten_thousand_words_are_scored() -> None:
    long = " ".join(["dog", "cat"] * 5000)
    results = compute({"1": [long], "2": ["a dog"]}, {"1": long, "2": long}, metrics=["rouge_l"])
    assert results.per_image["rouge_l"][0] == pytest.approx(1.0, abs=1e-12)
    assert 0 < results.per_image["rouge_l"][1] < 0.01
