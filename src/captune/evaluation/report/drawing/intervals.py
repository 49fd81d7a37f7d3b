"""The 95 % intervals of a table's row, as dots and lines on a small axis of their own."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from captune.evaluation.report.drawing.axes import format_tick, linear_axis
from captune.records import Interval

_WIDTH, _STEP, _EDGE, _AXIS = 176.0, 13.0, 14.0, 18.0


def draw_intervals(rows: Sequence[tuple[str, float, Interval | None]], *, title: str) -> Markup:
    """Draw one line per system with its 95 % interval, above an axis.

    Args:
        rows: (CSS class, value, interval), from top to bottom.
        title: Describes the chart in words, for screen readers.

    Returns:
        The chart; empty without a visible difference or without intervals.
    """
    ends = [end for _, _, i in rows if i is not None for end in (i.low, i.high)]
    values = [value for _, value, _ in rows] + ends
    # BLEU of captions without a match is about 1e-18: there is no visible difference to draw.
    if not ends or max(values) - min(values) < 1e-9:
        return Markup("")
    axis = linear_axis(values, start=_EDGE, end=_WIDTH - _EDGE, num_ticks=4)
    bottom = _STEP * len(rows) + 3
    parts = [_draw_axis(axis.ticks, [axis.place(tick) for tick in axis.ticks], bottom=bottom)]
    for number, (kind, value, interval) in enumerate(rows):
        y = _STEP * number + _STEP / 2 + 1.5
        if interval is not None:
            parts.append(
                f'<line class="whisker {kind}" x1="{axis.place(interval.low):.1f}"'
                f' x2="{axis.place(interval.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(
            f'<circle class="dot {kind}" cx="{axis.place(value):.1f}" cy="{y:.1f}" r="4"/>'
        )
    return Markup(
        f'<svg class="intervals" viewBox="0 0 {_WIDTH:g} {bottom + _AXIS:g}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _draw_axis(ticks: Sequence[float], places: Sequence[float], *, bottom: float) -> str:
    line = (
        f'<line class="axis" x1="{places[0]:.1f}" x2="{places[-1]:.1f}" y1="{bottom:.1f}"'
        f' y2="{bottom:.1f}"/>'
    )
    marks = (
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 3:.1f}"/>'
        for x in places
    )
    # Between the ends, numbers would touch each other.
    named = zip((places[0], places[-1]), (ticks[0], ticks[-1]), strict=True)
    texts = (
        f'<text x="{x:.1f}" y="{bottom + 14:.1f}" text-anchor="middle">{format_tick(tick)}</text>'
        for x, tick in named
    )
    return line + "".join(marks) + "".join(texts)
