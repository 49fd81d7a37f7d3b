"""Names of metrics and figures as people read them, the same in pages, plots and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from captune.metrics import METRICS, SIGNIFICANCE, PairedTest

_MADE_UP_SETS: Mapping[str, str] = {
    "truth_rate": "True captions",
    "truth_rate_before": "True captions before",
    "truth_rate_constant_caption": "True, constant caption",
}
"""Figures of sets whose every image is known, such as `shapes`; all others are in the table."""


def metric_label(name: str) -> str:
    """Return the metric's name for people."""
    if name in METRICS:
        return METRICS[name].label
    return _MADE_UP_SETS.get(name, name.replace("_", " "))


def is_description(name: str) -> bool:
    """Whether the metric describes the captions by themselves and looks at no reference."""
    return name in METRICS and METRICS[name].group == "diversity"


def format_value(name: str, value: float) -> str:
    """A metric's value on its own scale, with the digits that mean something."""
    if not math.isfinite(value):
        return "–"
    if name.startswith("truth_rate"):
        return format_share(value)
    return f"{value:,.{_decimals(name)}f}".replace("-", "−")


def format_delta(name: str, value: float) -> str:
    """A difference, its sign always written."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+,.{_decimals(name)}f}"
    # "-0.000" would claim a loss that the digits do not show.
    is_zero = not any(digit in text for digit in "123456789")
    return "±" + text[1:] if is_zero else text.replace("-", "−")


def is_shown_as_zero(name: str, difference: float) -> bool:
    """Whether the digits show no difference, as between BLEU-4 of 1e-9 and of 1e-18."""
    return format_delta(name, difference).startswith("±")


def format_p(value: float) -> str:
    """`p < 0.001`, `p = 0.012`, `p = 0.34`."""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def format_test(name: str, test: PairedTest) -> str:
    """The p-value of a paired test; what is smaller than the digits is not called significant."""
    if test.p_value < SIGNIFICANCE and is_shown_as_zero(name, test.delta):
        return "too small to show"
    return format_p(test.p_value)


def format_count(count: int, noun: str) -> str:
    """`1 image`, `1,000 images`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_share(share: float) -> str:
    """`7.3 %`; a share that is neither none nor all never reads as if it were."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def _decimals(name: str) -> int:
    return METRICS[name].decimals if name in METRICS else 3
