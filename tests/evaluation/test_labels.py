"""Readable figures and names of metrics."""

from __future__ import annotations

import math

import pytest

from captune.evaluation.labels import (
    format_delta,
    format_p,
    format_share,
    format_test,
    format_value,
    is_description,
    metric_label,
)
from captune.metrics import METRICS, PairedTest, is_lower_better


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("cider", 0.51249, "0.512"),
        ("sacrebleu", 29.494, "29.49"),
        ("vocabulary_size", 2926.0, "2,926"),
        ("mean_length", 9.5, "9.50"),
        ("bleu_4", math.nan, "–"),
        ("cider", -0.5, "−0.500"),
    ],
)
def test_values_keep_their_own_scale(name: str, value: float, text: str) -> None:
    assert format_value(name, value) == text


@pytest.mark.parametrize(
    ("delta", "text"),
    [(0.0314, "+0.031"), (-0.0314, "−0.031"), (-0.0001, "±0.000"), (0.0, "±0.000")],
)
def test_a_difference_has_a_sign_unless_its_digits_are_all_zero(delta: float, text: str) -> None:
    assert format_delta("cider", delta) == text


@pytest.mark.parametrize(
    ("p", "text"), [(0.000999, "p < 0.001"), (0.0124, "p = 0.012"), (0.345, "p = 0.34")]
)
def test_p_values_have_two_or_three_digits(p: float, text: str) -> None:
    assert format_p(p) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0\u00a0%"),
        (1.0, "100\u00a0%"),
        (0.0001, "< 0.1\u00a0%"),
        (0.9999, "> 99.9\u00a0%"),
        (0.073, "7.3\u00a0%"),
    ],
)
def test_a_share_reads_as_none_or_all_only_if_it_is(share: float, text: str) -> None:
    assert format_share(share) == text


def test_every_metric_of_the_table_has_a_readable_name() -> None:
    assert [name for name in METRICS if metric_label(name) == name] == []
    assert metric_label("bert_f1") == "bert f1"


def test_directions_and_descriptions_follow_the_table_of_metrics() -> None:
    assert is_lower_better("wer")
    assert not is_lower_better("cider")
    assert is_description("mean_length")
    assert not is_description("wer")
    assert not is_lower_better("unheard_of")


@pytest.mark.parametrize(
    ("delta", "p_value", "text"),
    [
        # BLEU-4 of captions without a match: every resample differs, by a negligible amount.
        (3e-9, 0.0, "too small to show"),
        (0.0, 1.0, "p = 1.00"),
        (0.2, 0.0, "p < 0.001"),
    ],
)
def test_a_difference_too_small_to_show_is_not_significant(
    delta: float, p_value: float, text: str
) -> None:
    test = PairedTest(delta, delta, delta, p_value=p_value, wins=0, ties=0, losses=0)
    assert format_test("bleu_4", test) == text
