"""A histogram of counts as inline SVG, in the classes of the report's charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from captune.evaluation.report.drawing.charts import HEIGHT, WIDTH, Plot, frame_chart

# More room than in other charts: for long counts on the left, and for counts above the bars.
_PLOT = Plot(58.0, WIDTH - 14.0, 26.0, HEIGHT - 46.0)
_MAX_TICKS = 16
_LETTER = 6.8
"""Width of a digit; counts are written above the bars if the longest fits."""


def draw_bars(bins: Sequence[tuple[int, int, int]], *, unit: str, limit: int | None) -> Markup:
    """Draw one bar per bin with its count; empty without bins.

    Args:
        bins: (lowest, highest, count), without gaps.
        unit: What is counted on the horizontal axis, such as `words`.
        limit: Bins above it are marked; `None`: there is no limit.
    """
    if not bins:
        return Markup("")
    ticks = _round_ticks(max(number for _, _, number in bins))
    step = (_PLOT.right - _PLOT.left) / len(bins)
    bottom = _PLOT.bottom
    scale = (bottom - _PLOT.top) / ticks[-1]
    parts = [_draw_tick(tick, bottom - tick * scale) for tick in ticks]
    every = -(-len(bins) // _MAX_TICKS)
    is_labelled = max(len(f"{number:,}") for _, _, number in bins) * _LETTER <= step
    readout = []
    for place, (low, high, number) in enumerate(bins):
        left, top = _PLOT.left + place * step, bottom - number * scale
        label = str(low) if low == high else f"{low}-{high}"
        middle = left + step / 2
        kind = "cut" if limit is not None and low > limit else "after"
        parts.append(
            f'<rect class="bar {kind}" x="{left + 0.07 * step:.1f}" y="{top:.1f}"'
            f' width="{0.86 * step:.1f}" height="{bottom - top:.1f}"/>'
        )
        if number and is_labelled:
            parts.append(_text(f"{number:,}", x=middle, y=top - 5))
        if place % every == 0:
            parts.append(_text(label, x=middle, y=bottom + 18))
        readout.append(
            {
                "x": round(middle, 1),
                "label": f"{label} {unit}",
                "rows": [["captions", f"{number:,}"]],
            }
        )
    parts.append(_text(f"{unit} per caption", x=(_PLOT.left + _PLOT.right) / 2, y=HEIGHT - 5))
    title = f"Number of captions by length in {unit}; the table below has all counts"
    return frame_chart(parts, title=title, readout=readout, plot=_PLOT)


def _draw_tick(tick: int, y: float) -> str:
    return (
        f'<line class="grid" x1="{_PLOT.left:g}" x2="{_PLOT.right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_PLOT.left - 8:g}" y="{y + 4:.1f}" text-anchor="end">'
        f"{tick:,}</text>"
    )


def _text(text: str, *, x: float, y: float) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _round_ticks(highest: int) -> list[int]:
    """Return whole numbers from 0 to at least the highest count, in round steps."""
    rough = max(1.0, highest / 4)
    power = 10 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    return [number * step for number in range(-(-highest // step) + 1)]
