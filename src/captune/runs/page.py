"""One page over all runs: a table to sort and filter, and any two runs side by side.

It is one file that opens offline. Without JavaScript the table is complete; comparing needs it.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from captune.evaluation import describe_seconds, format_value, metric_label, write_page
from captune.metrics import METRICS, is_lower_better
from captune.recipe import Recipe, flat_settings
from captune.records import Interval
from captune.runs.run_table import SHOWN_METRICS, choose_metrics, run_signature, sort_runs
from captune.runs.saved_run import SavedRun
from captune.runs.shared_images import describe_group, read_images, share_thumbnails
from captune.suggest import format_count
from captune.text_safety import escape_script_json

_MARK = "<!-- captune runs -->"
_WIDTH, _HEIGHT, _POINTS = 120.0, 28.0, 60
_CURVES = ("val_cider", "val_loss", "loss")


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """One score in the table."""

    text: str
    interval: str
    value: float


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run in the table."""

    place: int
    name: str
    description: str
    href: str
    state: str
    detail: str
    cells: tuple[ScoreCell, ...]
    curve: Markup
    images: str
    data: str
    model: str
    time: str
    day: str
    clock: str
    can_compare: bool


@dataclass(frozen=True, slots=True)
class RunsPage:
    """What the template reads."""

    title: str
    headline: str
    sentence: str
    metrics: tuple[str, ...]
    rows: tuple[RunRow, ...]
    data: Markup
    mark: Markup


def write_runs_page(path: Path, runs: Sequence[SavedRun], *, title: str) -> None:
    """Write the page.

    Args:
        path: The file; links to reports are relative to it.
        runs: At least one run.
        title: What was searched.

    Raises:
        OutputError: The file cannot be written.
    """
    ordered = sort_runs(runs)
    metrics = choose_metrics(ordered)
    page = RunsPage(
        title=title,
        headline=format_count(len(ordered), "run"),
        sentence=_summarize(ordered, metrics),
        metrics=tuple(map(metric_label, metrics)),
        rows=tuple(_make_row(place, run, metrics, page=path) for place, run in enumerate(ordered)),
        data=Markup(escape_script_json(_describe(ordered))),
        mark=Markup(_MARK),
    )
    write_page(
        path,
        "runs.html",
        content=page,
        more_templates={name: _read(name) for name in ("runs.html", "runs.css", "runs.js")},
    )


def is_runs_page(path: Path) -> bool:
    """Return whether a file is a page that this module wrote; devices may never end."""
    try:
        return path.is_file() and _MARK in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _summarize(runs: Sequence[SavedRun], metrics: Sequence[str]) -> str:
    counts = Counter(run.state for run in runs)
    parts = [f"{number} {state}" for state, number in counts.most_common()]
    sentence = ", ".join(parts) + "."
    scored = [run for run in runs if metrics and _score(run, metrics[0]) is not None]
    if not scored:
        return sentence
    sign = -1.0 if is_lower_better(metrics[0]) else 1.0
    best = max(sign * (_score(run, metrics[0]) or 0.0) for run in scored)
    value = format_value(metrics[0], sign * best)
    # Values that read the same are a tie.
    equal = [r.name for r in scored if _make_cell(r, metrics[0]).text == value]
    named = " and ".join(equal) if len(equal) < 3 else f"{len(equal)} runs"
    note = ""
    if len({run_signature(run) for run in scored}) > 1:
        note = " Not all runs were scored on the same images in the same way."
    return f"{sentence} Best {metric_label(metrics[0])}: {named}, {value}.{note}"


def _score(run: SavedRun, metric: str) -> float | None:
    value = run.scores["after"].metrics.get(metric) if "after" in run.scores else None
    return None if value is None or math.isnan(value) else value


def _make_row(place: int, run: SavedRun, metrics: Sequence[str], *, page: Path) -> RunRow:
    scores = run.scores.get("after")
    settings = run.settings
    return RunRow(
        place=place,
        name=run.name,
        description=str(settings.get("description", "")),
        href=_link(run.report, page),
        state=run.state,
        detail=run.detail,
        cells=tuple(_make_cell(run, name) for name in metrics),
        curve=_draw_curve(run),
        images=f"{scores.num_images:,}" if scores else "",
        data=Path(str(settings.get("data.path", ""))).name,
        model=_name_model(settings),
        time=describe_seconds(run.seconds) if run.seconds else "",
        day=run.finished[:10],
        clock=run.finished[11:16],
        can_compare=bool(settings or run.scores),
    )


def _make_cell(run: SavedRun, metric: str) -> ScoreCell:
    value = _score(run, metric)
    if value is None:
        return ScoreCell("–", "", math.nan)
    ends = _interval(run, metric)
    shown = ""
    if ends is not None:
        shown = f"{format_value(metric, ends.low)} to {format_value(metric, ends.high)}"
    return ScoreCell(format_value(metric, value), shown, value)


def _interval(run: SavedRun, metric: str) -> Interval | None:
    """Return the interval of a score; `None` if there is none, or its ends are not numbers."""
    ends = run.scores["after"].intervals.get(metric)
    is_known = ends is not None and math.isfinite(ends.low) and math.isfinite(ends.high)
    return ends if is_known else None


def _name_model(settings: Mapping[str, Any]) -> str:
    parts = [settings.get(f"model.{key}") for key in ("size", "checkpoint", "encoder", "decoder")]
    return " + ".join(Path(str(part)).name for part in parts if part)


def _link(report: Path | None, page: Path) -> str:
    """Return the address of a report as seen from the page."""
    if report is None:
        return ""
    try:
        relative = os.path.relpath(report.resolve(), page.parent.resolve())
    except ValueError:
        # Another drive of Windows.
        return report.resolve().as_uri()
    # Names of folders may hold bytes that are not UTF-8.
    return quote(os.fsencode(Path(relative).as_posix()))


def _draw_curve(run: SavedRun) -> Markup:
    name = next((name for name in _CURVES if run.log.get(name)), None)
    if name is None:
        return Markup("")
    points = run.log[name]
    step = -(-len(points) // _POINTS)
    kept = [*points[::step], *points[-1:]] if step > 1 else list(points)
    xs, ys = [x for x, _ in kept], [y for _, y in kept]
    across, up = (max(xs) - min(xs)) or 1, (max(ys) - min(ys)) or 1.0
    places = [
        (
            4 + (x - min(xs)) / across * (_WIDTH - 8),
            _HEIGHT - 4 - (y - min(ys)) / up * (_HEIGHT - 8),
        )
        for x, y in kept
    ]
    label = {"val_cider": "validation CIDEr", "val_loss": "validation loss"}.get(name, "loss")
    title = f"{label}: {ys[0]:.3g} to {ys[-1]:.3g} at step {xs[-1]}"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    x, y = places[-1]
    return Markup(
        f'<svg class="spark" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img">'
        f'<title>{escape(title)}</title><polyline class="line validation" points="{path}"/>'
        f'<circle class="dot validation" cx="{x:.1f}" cy="{y:.1f}" r="3"/></svg>'
    )


def _describe(runs: Sequence[SavedRun]) -> dict[str, Any]:
    """Return everything that comparing two runs needs, as JSON values."""
    defaults = flat_settings(Recipe())
    images = {place: found for place, run in enumerate(runs) if (found := read_images(run))}
    keys = [key for key, number in Counter(i.key for i in images.values()).items() if number > 1]
    thumbnails = share_thumbnails(len(keys))
    groups = [
        describe_group(
            {place: own for place, own in images.items() if own.key == key},
            runs,
            max_thumbnails=most,
        )
        for key, most in zip(keys, thumbnails, strict=True)
    ]
    group_of = {place: keys.index(own.key) for place, own in images.items() if own.key in keys}
    known = [name for run in runs if "after" in run.scores for name in run.scores["after"].metrics]
    metrics = dict.fromkeys([*(n for n in SHOWN_METRICS if n in known), *known])
    return {
        "defaults": defaults,
        "metrics": {
            name: {
                "label": metric_label(name),
                "decimals": METRICS[name].decimals if name in METRICS else 3,
                "lower": is_lower_better(name),
                "rated": name not in METRICS or METRICS[name].better is not None,
            }
            for name in metrics
        },
        "runs": [
            {
                "name": run.name,
                "settings": _changed(run.settings, defaults),
                "scores": _list_values(run),
                "signature": run_signature(run),
                "group": group_of.get(place),
            }
            for place, run in enumerate(runs)
        ],
        "groups": groups,
    }


def _changed(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any] | None:
    if not settings:
        return None
    return {k: v for k, v in settings.items() if k not in defaults or defaults[k] != v}


def _list_values(run: SavedRun) -> dict[str, list[float | None]]:
    if "after" not in run.scores:
        return {}
    scores = run.scores["after"]
    values = {}
    for name in scores.metrics:
        ends = _interval(run, name)
        values[name] = [_score(run, name), *((ends.low, ends.high) if ends else (None, None))]
    return values


def _read(name: str) -> str:
    return (files("captune.runs") / name).read_text(encoding="utf-8")
