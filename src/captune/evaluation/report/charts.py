"""Charts as inline SVG: sharp in print, styled by the page's CSS, with nothing to load.

Colours are CSS classes (`before`, `after`, `human`, `train`, `validation`), so that the stylesheet
controls light mode, dark mode and print. Text from users is escaped here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from captune.evaluation.report.axes import (
    Axis,
    format_tick,
    linear_axis,
    log_axis,
    tight_axis,
)
from captune.records import Interval

WIDTH, HEIGHT = 560.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 14.0, 46.0
_MAX_POINTS = 400


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart.

    Attributes:
        label: Name in the read-out.
        kind: CSS class of the colour.
        points: (x, y), in ascending order of x.
        has_dots: Whether to mark each point, for few points such as validations.
    """

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    has_dots: bool = False


def draw_lines(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    is_log: bool = False,
    readout: str = "step",
    from_zero: bool = False,
) -> Markup:
    """Draw a line chart; empty if no series has a point.

    Args:
        series: Lines; on a logarithmic axis, values that are not positive are skipped.
        title: Describes the chart in words, for screen readers.
        x_label: Label of the horizontal axis.
        is_log: Whether the vertical axis is logarithmic.
        readout: The word in front of a place on the horizontal axis.
        from_zero: Whether the vertical axis includes 0.
    """
    lines = [_thin(each, positive=is_log) for each in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points] + [0.0] * from_zero
    x_axis = tight_axis(xs, start=_LEFT, end=WIDTH - _RIGHT)
    make_axis = log_axis if is_log else linear_axis
    y_axis = make_axis(ys, start=HEIGHT - _BOTTOM, end=_TOP)
    body = [_draw_grid(x_axis, y_axis, x_label=x_label)]
    body += [_draw_series(line, x_axis, y_axis) for line in lines]
    return _frame(body, title=title, readout=_line_readout(lines, x_axis, word=readout))


def draw_histogram(
    shares: Mapping[str, Sequence[float]],
    *,
    kinds: Mapping[str, str],
    title: str,
    x_label: str,
) -> Markup:
    """Draw the shares of 0, 1, 2, ...: the first series as bars, the others as outlines.

    Args:
        shares: Label -> share of each number, 0..1; all of the same length, the last bin includes
            larger numbers.
        kinds: Label -> CSS class.
        title: Describes the chart in words, for screen readers.
        x_label: Label of the horizontal axis.
    """
    size = len(next(iter(shares.values()), ()))
    if not size:
        return Markup("")
    x_axis = Axis(0, size, _LEFT, WIDTH - _RIGHT, tuple(range(0, size, 5 if size > 12 else 1)))
    percents = {label: [100 * value for value in row] for label, row in shares.items()}
    highest = max(1.0, *(max(row) for row in percents.values()))
    y_axis = linear_axis([0.0, highest], start=HEIGHT - _BOTTOM, end=_TOP)
    body = [_draw_grid(x_axis, y_axis, x_label=x_label, x_shift=0.5, unit=" %")]
    for place, (label, row) in enumerate(percents.items()):
        draw = _draw_bars if place == 0 else _draw_outline
        body.append(draw(row, x_axis, y_axis, kind=kinds[label]))
    last = size - 1
    readout = [
        {
            "x": round(x_axis.place(number + 0.5), 1),
            "label": f"{number}{' or more' if number == last else ''} words",
            "rows": [[label, f"{row[number]:.1f} %"] for label, row in percents.items()],
        }
        for number in range(size)
    ]
    return _frame(body, title=title, readout=readout)


def draw_intervals(
    rows: Sequence[tuple[str, float, Interval | None]], *, title: str, low: float, high: float
) -> Markup:
    """Draw one thin line per system with its 95 % interval, on one scale, for a table cell.

    Args:
        rows: (CSS class, value, interval), from top to bottom.
        title: Describes the chart in words, for screen readers.
        low: Value at the left end.
        high: Value at the right end.
    """
    width, step, edge = 200.0, 13.0, 7.0
    height = step * len(rows) + 3
    span = high - low or 1.0

    def place(value: float) -> float:
        return edge + (min(max(value, low), high) - low) / span * (width - 2 * edge)

    parts = []
    for number, (kind, value, interval) in enumerate(rows):
        y = step * number + step / 2 + 1.5
        if interval is not None:
            ends = place(interval.low), place(interval.high)
            parts.append(
                f'<line class="whisker {kind}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}"'
                f' y1="{y:.1f}" y2="{y:.1f}"/>'
            )
        parts.append(f'<circle class="dot {kind}" cx="{place(value):.1f}" cy="{y:.1f}" r="4"/>')
    return Markup(
        f'<svg class="intervals" viewBox="0 0 {width:g} {height:g}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _thin(series: Series, *, positive: bool) -> Series:
    """Reduce a series to at most `_MAX_POINTS` points, each the mean of a group."""
    points = [(x, y) for x, y in series.points if y > 0 or not positive]
    size = -(-len(points) // _MAX_POINTS)
    if size > 1:
        groups = [points[start : start + size] for start in range(0, len(points), size)]
        points = [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]
    return Series(series.label, series.kind, tuple(points), series.has_dots)


def _draw_grid(
    x_axis: Axis, y_axis: Axis, *, x_label: str, x_shift: float = 0.0, unit: str = ""
) -> str:
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">'
            f"{format_tick(tick)}{unit}</text>"
        )
    bottom = HEIGHT - _BOTTOM
    for tick in x_axis.ticks:
        x = x_axis.place(tick + x_shift)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18:g}" text-anchor="middle">'
            f"{format_tick(tick)}</text>"
        )
    parts.append(
        f'<line class="axis" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}"'
        f' y1="{bottom:g}" y2="{bottom:g}"/>'
        f'<text class="axis-label" x="{(_LEFT + WIDTH - _RIGHT) / 2:g}" y="{HEIGHT - 5:g}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _draw_series(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = f'<polyline class="line {series.kind}" points="{path}"/>'
    if series.has_dots or len(places) == 1:
        line += "".join(
            f'<circle class="dot {series.kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            for x, y in places
        )
    return line


def _draw_bars(row: Sequence[float], x_axis: Axis, y_axis: Axis, *, kind: str) -> str:
    bottom = y_axis.place(0.0)
    width = x_axis.place(1.0) - x_axis.place(0.0)
    return "".join(
        f'<rect class="bar {kind}" x="{x_axis.place(number) + 0.08 * width:.1f}"'
        f' y="{y_axis.place(value):.1f}" width="{0.84 * width:.1f}"'
        f' height="{bottom - y_axis.place(value):.1f}"/>'
        for number, value in enumerate(row)
        if value > 0
    )


def _draw_outline(row: Sequence[float], x_axis: Axis, y_axis: Axis, *, kind: str) -> str:
    bottom = y_axis.place(0.0)
    path = [f"M{x_axis.place(0):.1f},{bottom:.1f}"]
    for number, value in enumerate(row):
        path.append(f"V{y_axis.place(value):.1f}H{x_axis.place(number + 1):.1f}")
    path.append(f"V{bottom:.1f}")
    return f'<path class="outline {kind}" d="{"".join(path)}"/>'


def _line_readout(lines: Sequence[Series], x_axis: Axis, *, word: str) -> list[dict[str, object]]:
    values = [dict(line.points) for line in lines]
    return [
        {
            "x": round(x_axis.place(x), 1),
            "label": f"{word} {x:,.0f}",
            "rows": [
                [line.label, f"{row[x]:.4g}"]
                for line, row in zip(lines, values, strict=True)
                if x in row
            ],
        }
        for x in sorted({x for row in values for x in row})
    ]


def _frame(body: Sequence[str], *, title: str, readout: Sequence[Mapping[str, object]]) -> Markup:
    data = escape(json.dumps(readout, separators=(",", ":")))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" tabindex="0"'
        f' data-readout="{data}" data-top="{_TOP:g}" data-bottom="{HEIGHT - _BOTTOM:g}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )
