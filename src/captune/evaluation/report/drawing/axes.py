"""Axes of charts: the values of ticks, and the position of a value in the drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values mapped to a range of drawing units.

    Attributes:
        low: Value at `start`.
        high: Value at `end`, above `low`.
        start: Position of `low` in drawing units.
        end: Position of `high` in drawing units.
        ticks: Values with a mark.
        is_log: Whether the axis is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """Return the position of a value in drawing units."""
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def linear_axis(values: Sequence[float], *, start: float, end: float, num_ticks: int = 5) -> Axis:
    """Return an axis with round ticks that contains all values and never has zero length.

    Args:
        values: At least one finite value.
        start: Position of the low end in drawing units.
        end: Position of the high end in drawing units.
        num_ticks: Approximate number of ticks.
    """
    low, high = min(values), max(values)
    # In a smaller range, ticks would differ only in digits beyond the precision of a float.
    if high - low < 1e-9 * max(1.0, abs(high), abs(low)):
        pad = abs(high) * 0.1 if abs(high) > 1e-6 else 1.0
        low, high = low - pad, high + pad
    step = _round_step((high - low) / max(1, num_ticks - 1))
    first, last = math.floor(low / step), math.ceil(high / step)
    ticks = tuple(round(number * step, 12) for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], start, end, ticks)


def tight_axis(values: Sequence[float], *, start: float, end: float, num_ticks: int = 6) -> Axis:
    """Return a linear axis from the lowest to the highest value, with round ticks; for steps."""
    round_axis = linear_axis(values, start=start, end=end, num_ticks=num_ticks)
    low, high = min(values), max(values)
    ticks = tuple(tick for tick in round_axis.ticks if low <= tick <= high)
    if low == high or not ticks:
        return round_axis
    return Axis(low, high, start, end, ticks)


def log_axis(values: Sequence[float], *, start: float, end: float) -> Axis:
    """Return a logarithmic axis of positive values, with ticks at 1, 2 and 5 times 10**n."""
    low, high = min(values), max(values)
    if high / low < 1.2:
        low, high = low / 1.1, high * 1.1
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    marks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    inside = tuple(mark for mark in marks if low <= mark <= high)
    if len(inside) < 2:
        plain = linear_axis([low, high], start=start, end=end)
        inside = tuple(tick for tick in plain.ticks if low <= tick <= high) or (low, high)
    if len(inside) > 8:
        inside = tuple(mark for mark in inside if math.isclose(math.log10(mark) % 1, 0))
    return Axis(low, high, start, end, inside, is_log=True)


def format_tick(value: float) -> str:
    """Return the text of a tick: no trailing zeros, thousands as `12k`."""
    if abs(value) >= 10_000 and value % 100 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.4g}".replace("-", "−")


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 2.5, 5, 10) if digit * power >= rough * 0.999)
