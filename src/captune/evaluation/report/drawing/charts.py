"""Charts as inline SVG: sharp in print, styled by the page's CSS, with nothing to load.

Colours are CSS classes (`before`, `after`, `human`, `train`, `validation`), so that the stylesheet
controls light mode, dark mode and print. Text from users is escaped here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from captune.evaluation.report.drawing.axes import (
    Axis,
    format_tick,
    linear_axis,
    log_axis,
    tight_axis,
)

WIDTH, HEIGHT = 560.0, 300.0
_MAX_POINTS = 400


@dataclass(frozen=True, slots=True)
class Plot:
    """The part of a drawing between its axes, in drawing units."""

    left: float
    right: float
    top: float
    bottom: float


PLOT = Plot(52.0, WIDTH - 14.0, 14.0, HEIGHT - 46.0)


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


@dataclass(frozen=True, slots=True)
class Scale:
    """The axes of a line chart.

    Attributes:
        is_log: Whether the vertical axis is logarithmic.
        from_zero: Whether the vertical axis includes 0.
        x_range: Ends of the horizontal axis, for charts side by side; `None`: those of the points.
        mark: A place on the horizontal axis with its name, drawn as a line; `None`: no line.
        readout: The word in front of a place on the horizontal axis.
    """

    is_log: bool = False
    from_zero: bool = False
    x_range: tuple[float, float] | None = None
    mark: tuple[float, str] | None = None
    readout: str = "step"


def draw_lines(
    series: Sequence[Series], *, title: str, x_label: str, scale: Scale | None = None
) -> Markup:
    """Draw a line chart; empty if no series has a point.

    Args:
        series: Lines; on a logarithmic axis, values that are not positive are skipped.
        title: Describes the chart in words, for screen readers.
        x_label: Label of the horizontal axis.
        scale: The axes; `None`: those of the points.
    """
    scale = scale or Scale()
    lines = [_thin(each, positive=scale.is_log) for each in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points] + list(scale.x_range or ())
    ys = [y for line in lines for _, y in line.points] + [0.0] * scale.from_zero
    x_axis = tight_axis(xs, start=PLOT.left, end=PLOT.right)
    make_axis = log_axis if scale.is_log else linear_axis
    y_axis = make_axis(ys, start=PLOT.bottom, end=PLOT.top)
    body = [draw_grid(x_axis, y_axis, x_label=x_label)]
    if scale.mark is not None:
        body.append(_draw_mark(*scale.mark, x_axis=x_axis))
    body += [_draw_series(line, x_axis, y_axis) for line in lines]
    return frame_chart(body, title=title, readout=_line_readout(lines, x_axis, word=scale.readout))


def draw_histogram(
    shares: Mapping[str, Sequence[float]],
    *,
    kinds: Mapping[str, str],
    title: str,
    x_label: str,
    drill: str = "",
) -> Markup:
    """Draw the shares of 0, 1, 2, ...: the first series as bars, the others as outlines.

    Args:
        shares: Label -> share of each number, 0..1; all of the same length, the last bin includes
            larger numbers.
        kinds: Label -> CSS class.
        title: Describes the chart in words, for screen readers.
        x_label: Label of the horizontal axis.
        drill: Filter of the gallery for a number, such as `length={}`; empty: bars filter nothing.
    """
    size = len(next(iter(shares.values()), ()))
    if not size:
        return Markup("")
    x_axis = Axis(0, size, PLOT.left, PLOT.right, tuple(range(0, size, 5 if size > 12 else 1)))
    percents = {label: [100 * value for value in row] for label, row in shares.items()}
    highest = max(1.0, *(max(row) for row in percents.values()))
    y_axis = linear_axis([0.0, highest], start=PLOT.bottom, end=PLOT.top)
    body = [draw_grid(x_axis, y_axis, x_label=x_label, x_shift=0.5, unit=" %")]
    for place, (label, row) in enumerate(percents.items()):
        draw = _draw_bars if place == 0 else _draw_outline
        body.append(draw(row, x_axis, y_axis, kind=kinds[label]))
    last = size - 1
    readout = [
        {
            "x": round(x_axis.place(number + 0.5), 1),
            "label": f"{number}{' or more' if number == last else ''} words",
            "rows": [[label, f"{row[number]:.1f} %"] for label, row in percents.items()],
            "filter": drill.format(f"{number}:" if number == last else f"{number}:{number}"),
        }
        for number in range(size)
    ]
    return frame_chart(body, title=title, readout=readout)


def _thin(series: Series, *, positive: bool) -> Series:
    """Reduce a series to at most `_MAX_POINTS` points, each the mean of a group."""
    points = [(x, y) for x, y in series.points if y > 0 or not positive]
    size = -(-len(points) // _MAX_POINTS)
    if size > 1:
        groups = [points[start : start + size] for start in range(0, len(points), size)]
        points = [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]
    return Series(series.label, series.kind, tuple(points), series.has_dots)


def draw_grid(
    x_axis: Axis, y_axis: Axis, *, x_label: str, x_shift: float = 0.0, unit: str = ""
) -> str:
    """Return the axes with their ticks, `x_shift` to the right of their values."""
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.place(tick)
        parts.append(
            f'<line class="grid" x1="{PLOT.left:g}" x2="{PLOT.right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{PLOT.left - 8:g}" y="{y + 4:.1f}" text-anchor="end">'
            f"{format_tick(tick)}{unit}</text>"
        )
    bottom = PLOT.bottom
    for tick in x_axis.ticks:
        x = x_axis.place(tick + x_shift)
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{bottom + 18:g}" text-anchor="middle">'
            f"{format_tick(tick)}</text>"
        )
    parts.append(
        f'<line class="axis" x1="{PLOT.left:g}" x2="{PLOT.right:g}"'
        f' y1="{bottom:g}" y2="{bottom:g}"/>'
        f'<text class="axis-label" x="{(PLOT.left + PLOT.right) / 2:g}" y="{HEIGHT - 5:g}"'
        f' text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _draw_mark(x: float, name: str, *, x_axis: Axis) -> str:
    place = x_axis.place(x)
    is_right = place > WIDTH / 2
    return (
        f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{PLOT.top:g}"'
        f' y2="{PLOT.bottom:g}"/>'
        f'<text class="mark-label" x="{place + (-6 if is_right else 6):.1f}" y="{PLOT.top + 8:g}"'
        f' text-anchor="{"end" if is_right else "start"}">{escape(name)}</text>'
    )


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


def draw_bar(ends: tuple[float, float], y_axis: Axis, *, value: float, kind: str) -> str:
    """Return a bar from 0 to a value, a little narrower than its ends; nothing for 0."""
    left, width = ends[0], ends[1] - ends[0]
    top = y_axis.place(value)
    return (
        f'<rect class="bar {kind}" x="{left + 0.08 * width:.1f}" y="{top:.1f}"'
        f' width="{0.84 * width:.1f}" height="{y_axis.place(0.0) - top:.1f}"/>'
        if value > 0
        else ""
    )


def _draw_bars(row: Sequence[float], x_axis: Axis, y_axis: Axis, *, kind: str) -> str:
    return "".join(
        draw_bar((x_axis.place(n), x_axis.place(n + 1)), y_axis, value=value, kind=kind)
        for n, value in enumerate(row)
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


def frame_chart(
    body: Sequence[str], *, title: str, readout: Sequence[Mapping[str, object]], plot: Plot = PLOT
) -> Markup:
    """Return a chart with its read-out: x, label and rows per place, and perhaps a filter."""
    data = escape(json.dumps(readout, separators=(",", ":")))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" tabindex="0"'
        f' data-readout="{data}" data-top="{plot.top:g}" data-bottom="{plot.bottom:g}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )
