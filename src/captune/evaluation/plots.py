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
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from captune.data import decode_image
from captune.errors import ImageError
from captune.evaluation.compare import (
    AFTER,
    BEFORE,
    CONSTANT_CAPTION,
    Evaluation,
    main_metrics,
)
from captune.evaluation.labels import directed_label, format_value
from captune.evaluation.report.inputs import SYSTEM_LABELS, ReportInputs
from captune.evaluation.report.png import save_figure
from captune.evaluation.report.training_log import TrainingLog
from captune.evaluation.verdict import Occasion
from captune.records import CaptionRecord
from captune.suggest import format_count
from captune.text_safety import clean_text, shorten_words

SAMPLE_IMAGES = 6
CAPTION_IMAGES = 12
_WRAP = 52
_THUMBNAIL = 480
_SPLITS = {"train": "training", "val": "validation", "all": ""}
_FRAME, _GAP = (4.0, 3.0), 0.2
"""Frame of an image and space between frames, in inches."""
_COLORS = {BEFORE: "#8a94a3", AFTER: "#0d8a82", CONSTANT_CAPTION: "#c98a1b"}


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
        "before_after.png": plot_scores(inputs.evaluation, inputs.occasion),
        "captions.png": plot_grid(_captioned(inputs)),
    }
    written = []
    for name, figure in figures.items():
        if figure is not None:
            save_figure(folder / name, figure)
            written.append(folder / name)
    return written


def plot_grid(pictures: Sequence[Picture], *, columns: int = 3) -> Figure:
    """Draw any number of images in frames of equal size, with wrapped text below each.

    A row is as high as its longest text. An image that cannot be decoded shows the reason in its
    place.

    Args:
        pictures: At least one.
        columns: Maximum number of images per row.
    """
    columns = max(1, min(columns, len(pictures)))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    texts = [[_wrap(picture.lines) for picture in row] for row in rows]
    heights = [_FRAME[1] + _text_height(row) for row in texts]
    width, height = columns * (_FRAME[0] + _GAP) + _GAP, sum(heights) + _GAP
    figure = Figure(figsize=(width, height), facecolor="white")
    top = height - _GAP
    for row, row_texts, row_height in zip(rows, texts, heights, strict=True):
        for place, (picture, text) in enumerate(zip(row, row_texts, strict=True)):
            left = _GAP + place * (_FRAME[0] + _GAP)
            bottom = top - _FRAME[1]
            box = (left / width, bottom / height, _FRAME[0] / width, _FRAME[1] / height)
            _draw_picture(figure.add_axes(box), picture, text=text)
        top -= row_height
    return figure


def _text_height(texts: Sequence[str]) -> float:
    """Return the height of the longest text of a row with its margin, in inches."""
    return 0.17 * max(text.count("\n") + 1 for text in texts) + 0.3


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
        if scale == "log":
            _label_log_axis(axis)
        _tidy(axis)
        axis.legend(frameon=False)
    return figure


def _label_log_axis(axis: Any) -> None:
    """Label plain numbers: losses of 2 to 4 are hard to read as "2 x 10^0"."""
    low, high = axis.get_ylim()
    # Over less than a factor of 10, powers of ten alone would label one point or none.
    is_narrow = high < 10 * low
    evenly = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10])
    locator = evenly if is_narrow else LogLocator(subs=(1.0, 2.0, 5.0))
    axis.yaxis.set_major_locator(locator)
    axis.yaxis.set_minor_locator(NullLocator())
    # From one label to another, so that the ends of the curve have labels around them.
    ticks = [tick for tick in locator.tick_values(low, high) if tick > 0]
    below = max((tick for tick in ticks if tick <= low), default=low)
    above = min((tick for tick in ticks if tick >= high), default=high)
    axis.set_ylim(below, above)
    axis.yaxis.set_major_formatter(_format_loss)


def _format_loss(value: float, _: int) -> str:
    return f"{value:g}"


def plot_scores(evaluation: Evaluation, occasion: Occasion) -> Figure:
    """Draw the main metrics of both models and the constant caption, with 95 % intervals."""
    names = main_metrics(evaluation)
    systems = [name for name in _COLORS if name in evaluation.scores]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(
        figsize=(3.6 * columns, 3.0 * rows + 0.6), facecolor="white", layout="constrained"
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(names):
            axis.set_axis_off()
            continue
        _draw_metric(axis, evaluation, names[place], systems=systems)
        ticks = [SYSTEM_LABELS[occasion][name].lower().replace(" ", "\n") for name in systems]
        axis.set_xticks(range(len(systems)), ticks)
    split = _SPLITS.get(evaluation.split, evaluation.split)
    images = format_count(evaluation.num_images, f"{split} image".strip())
    figure.suptitle(f"Scores on {images}; lines: 95 % intervals", fontsize=11, x=0.01, ha="left")
    return figure


def _draw_metric(axis: Any, evaluation: Evaluation, name: str, *, systems: Sequence[str]) -> None:
    tops = []
    for place, system in enumerate(systems):
        scores = evaluation.scores[system]
        value = scores.metrics[name]
        interval = scores.intervals.get(name)
        axis.bar(place, value, color=_COLORS[system], width=0.7)
        top = value
        if interval is not None:
            # A percentile interval may not contain the value; matplotlib refuses negative lengths.
            below, above = max(0.0, value - interval.low), max(0.0, interval.high - value)
            axis.errorbar(place, value, [[below], [above]], color="#16202b", capsize=3, lw=1.2)
            top = value + above
        if math.isfinite(top):
            text = format_value(name, value)
            axis.annotate(
                text,
                (place, top),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=10,
                # Grid lines would cross the numbers.
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
            tops.append(top)
    # Room for the numbers above the bars.
    if tops and min(tops) >= 0:
        axis.set_ylim(0, 1.15 * max(tops) or 1.0)
    axis.set_title(directed_label(name), fontsize=10, fontweight="bold")
    _tidy(axis)


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e2e6eb", linewidth=0.8)
    axis.set_axisbelow(True)


def _draw_picture(axis: Any, picture: Picture, *, text: str) -> None:
    axis.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1), facecolor="#eef0f4")
    axis.spines[:].set_visible(False)
    try:
        image = decode_image(picture.record.image)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        axis.imshow(image, extent=_center(image.size), aspect="auto")
        axis.set(xlim=(0, 1), ylim=(0, 1))
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


def _center(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of an image of this size in a frame of side 1."""
    wide = min(1.0, size[0] / size[1] * _FRAME[1] / _FRAME[0])
    high = min(1.0, size[1] / size[0] * _FRAME[0] / _FRAME[1])
    return (1 - wide) / 2, (1 + wide) / 2, (1 - high) / 2, (1 + high) / 2


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
            label = SYSTEM_LABELS[inputs.occasion][BEFORE]
            lines.append(f"{label}: {before[record.image_id] or '(empty)'}")
        lines += [f"Human: {caption}" for caption in record.captions[:1]]
        pictures.append(Picture(record, tuple(lines)))
    return pictures[:CAPTION_IMAGES]
