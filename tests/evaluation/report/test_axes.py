"""Ticks and positions on the axes of charts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.evaluation.report.drawing.axes import format_tick, linear_axis, log_axis, tight_axis

numbers = st.floats(-1e9, 1e9, allow_nan=False)
positive = st.floats(1e-9, 1e9)


def test_a_linear_axis_starts_and_ends_at_round_ticks() -> None:
    axis = linear_axis([0.13, 0.52], start=0, end=100)
    assert axis.ticks == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert axis.place(0.1) == 0
    assert axis.place(0.6) == 100
    assert axis.place(0.35) == pytest.approx(50)


def test_a_tight_axis_starts_and_ends_at_the_extreme_values() -> None:
    axis = tight_axis([10, 3000], start=0, end=1)
    assert (axis.low, axis.high) == (10, 3000)
    assert axis.ticks == (1000, 2000, 3000)


def test_equal_ratios_are_equal_distances_on_a_log_axis() -> None:
    axis = log_axis([1.0, 100.0], start=0, end=100)
    assert axis.place(10.0) == pytest.approx(50)
    assert set(axis.ticks) >= {1.0, 10.0, 100.0}


@given(st.lists(numbers, min_size=1, max_size=5))
def test_a_linear_axis_contains_every_value(values: list[float]) -> None:
    axis = linear_axis(values, start=0, end=1)
    assert axis.high > axis.low
    assert len(axis.ticks) >= 2
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values)


@given(st.lists(positive, min_size=1, max_size=5))
def test_a_log_axis_contains_every_value(values: list[float]) -> None:
    axis = log_axis(values, start=0, end=1)
    assert all(math.isfinite(axis.place(value)) for value in values)
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values)
    assert 1 <= len(axis.ticks) <= 25


@pytest.mark.parametrize(
    ("value", "text"), [(0.25, "0.25"), (12000, "12k"), (1000, "1000"), (-2.0, "−2"), (0.0, "0")]
)
def test_ticks_have_no_unnecessary_digits(value: float, text: str) -> None:
    assert format_tick(value) == text
