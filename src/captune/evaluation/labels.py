"""Readable names of metrics and figures, the same in pages, plots and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from captune.metrics import METRICS, SIGNIFICANCE, PairedTest, is_lower_better

_GENERATED_SETS: Mapping[str, str] = {
    "truth_rate": "True captions",
    "truth_rate_before": "True captions before",
    "truth_rate_constant_caption": "True captions, constant caption",
}
"""Figures of data sets with known contents, such as `shapes`; all others are in the table."""


def metric_label(name: str) -> str:
    """Return the readable name of a metric."""
    if name in METRICS:
        return METRICS[name].label
    return _GENERATED_SETS.get(name, name.replace("_", " "))


def directed_label(name: str) -> str:
    """Return the readable name of a metric, and whether lower is better."""
    return metric_label(name) + (" (lower is better)" if is_lower_better(name) else "")


def is_description(name: str) -> bool:
    """Return whether the metric describes the captions alone, without references."""
    return name in METRICS and METRICS[name].group == "diversity"


def format_value(name: str, value: float) -> str:
    """Return a value of a metric as text, on its own scale, with its meaningful digits."""
    if not math.isfinite(value):
        return "–"
    if name.startswith("truth_rate"):
        return format_share(value)
    return f"{value:,.{_decimals(name)}f}".replace("-", "−")


def round_value(name: str, value: float) -> str:
    """Return a value with its meaningful digits for programs; empty if it is not finite."""
    return f"{value:.{_decimals(name)}f}" if math.isfinite(value) else ""


def format_delta(name: str, value: float) -> str:
    """Return a difference as text, always with its sign."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:+,.{_decimals(name)}f}"
    # "-0.000" would claim a loss that the digits do not show.
    is_zero = not any(digit in text for digit in "123456789")
    return "±" + text[1:] if is_zero else text.replace("-", "−")


def is_shown_as_zero(name: str, difference: float) -> bool:
    """Return whether the digits show no difference, as between BLEU-4 of 1e-9 and of 1e-18."""
    return format_delta(name, difference).startswith("±")


def format_p(value: float) -> str:
    """Return a p value as text: `p < 0.001`, `p = 0.012`, `p = 0.34`."""
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"


def format_test(name: str, test: PairedTest) -> str:
    """Return the p value of a paired test; a difference too small to show is not significant."""
    if test.p_value < SIGNIFICANCE and is_shown_as_zero(name, test.delta):
        return "too small to show"
    return format_p(test.p_value)


def format_share(share: float) -> str:
    """Return a share as text, such as `7.3 %`; only exactly none or all reads as 0 or 100 %."""
    percent = 100 * share
    if 0 < percent < 0.05:
        return "< 0.1 %"
    if 99.95 <= percent < 100:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.1f} %"


def _decimals(name: str) -> int:
    return METRICS[name].decimals if name in METRICS else 3
