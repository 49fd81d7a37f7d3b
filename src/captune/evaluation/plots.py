"""The PNG plots of a run: samples, loss, scores before and after, captions.

They use matplotlib's canvas without pyplot: no global state changes, and no display is needed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from captune.data import decode_image
from captune.errors import ImageError
from captune.evaluation.compare import AFTER, BEFORE, CONSTANT_CAPTION, Evaluation
from captune.evaluation.labels import is_description, metric_label
from captune.evaluation.report.inputs import ReportInputs
from captune.evaluation.report.png import save_figure
from captune.evaluation.report.training_log import TrainingLog
from captune.records import CaptionRecord
from captune.text_safety import clean_text, shorten_words

SAMPLE_IMAGES = 6
CAPTION_IMAGES = 12
_WRAP = 52
_THUMBNAIL = 480
_COLORS = {BEFORE: "#8a94a3", AFTER: "#0d8a82", CONSTANT_CAPTION: "#c98a1b"}
_LABELS = {BEFORE: "before", AFTER: "after", CONSTANT_CAPTION: "constant caption"}


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in a grid, with the lines of text below it.

    Attributes:
        record: The image.
        lines: Paragraphs of text.
    """

    record: CaptionRecord
    lines: tuple[str, ...]


def write_plots(folder: Path, inputs: ReportInputs) -> list[Path]:
    """Write samples.png, loss.png, before_after.png and captions.png.

    Args:
        folder: Created if it does not exist; `plots` of a run's folder.
        inputs: The run.

    Returns:
        The files written; without training there is no loss.png.

    Raises:
        OutputError: A file cannot be written.
    """
    samples = inputs.training_records or inputs.records
    figures = {
        "samples.png": plot_grid(_samples(samples[:SAMPLE_IMAGES])),
        "loss.png": plot_loss(inputs.log),
        "before_after.png": plot_scores(inputs.evaluation),
        "captions.png": plot_grid(_captioned(inputs)),
    }
    written = []
    for name, figure in figures.items():
        if figure is not None:
            save_figure(folder / name, figure)
            written.append(folder / name)
    return written


def plot_grid(pictures: Sequence[Picture], *, columns: int = 3) -> Figure:
    """Draw any number of images in a grid, with wrapped text below each.

    An image that cannot be decoded shows the reason in its place.

    Args:
        pictures: At least one.
        columns: Maximum number of images per row.
    """
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, math.ceil(len(pictures) / columns))
    texts = [_wrap(picture.lines) for picture in pictures]
    # Height of the longest text of the grid, in inches.
    text_height = 0.17 * max((text.count("\n") + 1 for text in texts), default=1) + 0.25
    figure = Figure(figsize=(4.2 * columns, (3.2 + text_height) * rows), facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.flat):
        axis.set_axis_off()
        # Narrow images are aligned to the left, above the start of their text.
        axis.set_anchor("SW")
        if place < len(pictures):
            _draw_picture(axis, pictures[place], text=texts[place])
    figure.subplots_adjust(
        left=0.02,
        right=0.98,
        top=0.99,
        bottom=text_height / ((3.2 + text_height) * rows),
        wspace=0.06,
        hspace=text_height / 3.2,
    )
    return figure


def plot_loss(log: TrainingLog) -> Figure | None:
    """Draw training and validation loss per step, linear and logarithmic; `None` without data."""
    train, validation = log.curve("loss"), log.curve("val_loss")
    if not train.values and not validation.values:
        return None
    figure = Figure(figsize=(11, 4), facecolor="white", layout="constrained")
    for axis, scale in zip(figure.subplots(1, 2), ("linear", "log"), strict=True):
        axis.plot(
            train.steps,
            train.values,
            color="#a3adba",
            linewidth=1.2,
            # A line needs two points.
            marker="o" if len(train.values) == 1 else "",
            label="training",
        )
        axis.plot(
            validation.steps,
            validation.values,
            color="#0d8a82",
            marker="o",
            markersize=4,
            label="validation",
        )
        axis.set(xlabel="optimizer step", ylabel=f"loss ({scale} axis)", yscale=scale)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Losses of 2 to 4 are hard to read as "2 x 10^0".
        axis.yaxis.set_major_formatter(_format_loss)
        axis.yaxis.set_minor_formatter(_format_loss if _is_narrow(axis) else _format_few)
        _tidy(axis)
        axis.legend(frameon=False)
    return figure


def _format_loss(value: float, _: int) -> str:
    return f"{value:g}"


def _format_few(value: float, _: int) -> str:
    """Label only 2 and 5 between powers of ten: all nine labels would overlap."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _is_narrow(axis: Any) -> bool:
    low, high = axis.get_ylim()
    return bool(high < 10 * low)


def plot_scores(evaluation: Evaluation) -> Figure:
    """Draw every metric before, after and for the constant caption, with 95 % intervals."""
    names = [n for n in evaluation.metrics if not is_description(n)] or list(evaluation.metrics)
    systems = [name for name in _COLORS if name in evaluation.scores]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.1 * columns, 2.9 * rows), facecolor="white", layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(names):
            axis.set_axis_off()
            continue
        _draw_metric(axis, evaluation, names[place], systems=systems)
    return figure


def _draw_metric(axis: Any, evaluation: Evaluation, name: str, *, systems: Sequence[str]) -> None:
    for place, system in enumerate(systems):
        scores = evaluation.scores[system]
        value = scores.metrics[name]
        interval = scores.intervals.get(name)
        axis.bar(place, value, color=_COLORS[system], width=0.7)
        if interval is not None:
            # A percentile interval may not contain the value; matplotlib refuses negative lengths.
            below, above = max(0.0, value - interval.low), max(0.0, interval.high - value)
            axis.errorbar(place, value, [[below], [above]], color="#16202b", capsize=3, lw=1.2)
    axis.set_xticks(range(len(systems)), [_LABELS[s].replace(" ", "\n") for s in systems])
    axis.set_title(metric_label(name), fontsize=10, fontweight="bold")
    _tidy(axis)


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e2e6eb", linewidth=0.8)
    axis.set_axisbelow(True)


def _draw_picture(axis: Any, picture: Picture, *, text: str) -> None:
    try:
        image = decode_image(picture.record.image)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        axis.imshow(image)
    except ImageError as error:
        axis.text(0.5, 0.5, f"cannot be shown:\n{error.what}", ha="center", va="center")
    axis.text(
        0.0,
        -0.03,
        text,
        transform=axis.transAxes,
        va="top",
        fontsize=9,
        linespacing=1.25,
        # "$" in a caption is a dollar sign, not the start of a formula.
        parse_math=False,
    )


def _wrap(lines: Sequence[str]) -> str:
    wrapped = [
        textwrap.fill(shorten_words(clean_text(line), 60), _WRAP, break_long_words=True)
        for line in lines
    ]
    return "\n".join(wrapped)


def _samples(records: Sequence[CaptionRecord]) -> list[Picture]:
    return [Picture(record, tuple(f"• {c}" for c in record.captions[:5])) for record in records]


def _captioned(inputs: ReportInputs) -> list[Picture]:
    before = {p.image_id: p.caption for p in inputs.before or ()}
    after = {p.image_id: p.caption for p in inputs.after}
    pictures = []
    for record in inputs.records:
        if record.image_id not in after:
            continue
        lines = [f"Generated caption: {after[record.image_id] or '(empty)'}"]
        if record.image_id in before:
            lines.append(f"Before: {before[record.image_id] or '(empty)'}")
        lines += [f"Human: {caption}" for caption in record.captions[:1]]
        pictures.append(Picture(record, tuple(lines)))
    return pictures[:CAPTION_IMAGES]
