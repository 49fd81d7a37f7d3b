"""The PNG plots: complete, of the right shape, and safe against hostile captions."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captune.evaluation import (
    Picture,
    ReportInputs,
    plot_grid,
    read_training_log,
    write_plots,
)
from captune.evaluation.compare import main_metrics
from captune.evaluation.plots import plot_loss, plot_scores
from captune.evaluation.report.png import save_figure
from captune.records import CaptionRecord


def encode(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def shades(path: Path) -> int:
    """Count the different grey levels; a blank picture has one."""
    return len(np.unique(np.asarray(Image.open(path).convert("L"))))


@pytest.mark.slow
def test_all_four_plots_are_written(inputs: ReportInputs, tmp_path: Path) -> None:
    written = write_plots(tmp_path / "plots", inputs)
    names = ["samples.png", "loss.png", "before_after.png", "captions.png"]
    assert written == [tmp_path / "plots" / name for name in names]
    assert all(shades(path) > 10 for path in written)


@pytest.mark.slow
def test_without_training_there_is_no_loss_plot(inputs: ReportInputs, tmp_path: Path) -> None:
    written = write_plots(tmp_path, replace(inputs, log=type(inputs.log)({})))
    assert "loss.png" not in {path.name for path in written}


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (7, 3), (14, 5)])
def test_a_grid_holds_any_number_of_images(inputs: ReportInputs, count: int, rows: int) -> None:
    record = inputs.records[0]
    figure = plot_grid([Picture(record, ("a caption",))] * count)
    assert [len(axis.images) for axis in figure.axes] == [1] * count
    assert len({axis.get_position().y0 for axis in figure.axes}) == rows


def test_images_of_any_shape_have_frames_of_equal_size_and_keep_their_shape() -> None:
    sizes = ((40, 30), (30, 90), (200, 20))
    records = [CaptionRecord(str(size), encode(size)) for size in sizes]
    long = ("word " * 40,)
    pictures = [Picture(record, long) for record in records] + [Picture(records[0], ("one",))]
    figure = plot_grid(pictures)
    width, height = figure.get_size_inches()
    for axis, (wide, high) in zip(figure.axes, (*sizes, sizes[0]), strict=True):
        box = axis.get_position()
        assert (box.width * width, box.height * height) == pytest.approx((4.0, 3.0))
        left, right, bottom, top = axis.images[0].get_extent()
        shown = (right - left) * 4.0 / ((top - bottom) * 3.0)
        assert shown == pytest.approx(wide / high)
        assert left + right == pytest.approx(1)
        assert bottom + top == pytest.approx(1)


def test_dollars_controls_and_long_words_are_drawn_as_text(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    lines = ("$x^2$ and $ 5 _", "\x00\ud800 \u202e", "w" * 500, "", "一只狗")
    figure = plot_grid([Picture(inputs.records[0], lines)])
    save_figure(tmp_path / "a.png", figure)
    assert "$x^2$ and $ 5 _" in figure.axes[0].texts[0].get_text()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width < 3000


def test_a_broken_image_is_replaced_by_its_error() -> None:
    figure = plot_grid([Picture(CaptionRecord("x", b"junk"), ("a dog",))])
    assert "not_an_image" in figure.axes[0].texts[0].get_text()


def test_the_loss_is_drawn_on_a_linear_and_a_logarithmic_axis(inputs: ReportInputs) -> None:
    figure = plot_loss(inputs.log)
    assert figure is not None
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["training"].get_ydata()) == [4.0, 2.0]
    assert list(lines["validation"].get_xdata()) == [2]


@pytest.mark.parametrize(
    ("losses", "some"),
    [((2.9, 3.6), {"3", "3.2"}), ((0.27, 2.9), {"0.2", "0.5", "1"}), ((0.004, 7), {"5"})],
)
def test_the_logarithmic_axis_has_plain_numbers_as_labels(
    tmp_path: Path, losses: tuple[float, float], some: set[str]
) -> None:
    rows = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    figure = plot_loss(read_training_log(path))
    assert figure is not None
    save_figure(tmp_path / "loss.png", figure)
    axis, (low, high) = figure.axes[1].yaxis, figure.axes[1].get_ylim()
    ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
    shown = [tick for tick in ticks if low <= tick.get_loc() <= high]
    labels = {tick.label1.get_text() for tick in shown} - {""}
    assert some <= labels
    numbers = sorted(map(float, labels))
    assert 0 < numbers[0] <= min(losses)
    assert max(losses) <= numbers[-1]


def test_a_single_logged_step_is_drawn_as_a_point(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    colours = []
    for lines in ([], [{"step": 5, "loss": 2.0}]):
        rows = [*lines, {"step": 9, "val_loss": 1.5}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        figure = plot_loss(read_training_log(path))
        assert figure is not None
        figure.axes[0].get_legend().remove()
        save_figure(tmp_path / "loss.png", figure)
        pixels = np.asarray(Image.open(tmp_path / "loss.png").convert("RGB")).reshape(-1, 3)
        colours.append(int((pixels == (0xA3, 0xAD, 0xBA)).all(axis=1).sum()))
    without, with_point = colours
    assert with_point > without + 10


def test_the_bars_are_the_scores_before_after_and_constant(inputs: ReportInputs) -> None:
    figure = plot_scores(inputs.evaluation, "run")
    axis = next(axis for axis in figure.axes if axis.get_title() == "CIDEr")
    scores = inputs.evaluation.scores
    expected = [scores[name].metrics["cider"] for name in ("before", "after", "constant_caption")]
    assert [bar.get_height() for bar in axis.patches] == pytest.approx(expected)


def test_the_bars_have_their_values_and_the_number_of_images(inputs: ReportInputs) -> None:
    figure = plot_scores(inputs.evaluation, "run")
    axis = next(axis for axis in figure.axes if axis.get_title() == "BLEU-1")
    scores = inputs.evaluation.scores
    values = [scores[name].metrics["bleu_1"] for name in ("before", "after", "constant_caption")]
    assert [text.get_text() for text in axis.texts] == [f"{value:.3f}" for value in values]
    assert figure.get_suptitle() == "Scores on 6 test images; lines: 95 % intervals"


def test_no_bar_of_an_evaluation_is_called_before_or_after(inputs: ReportInputs) -> None:
    axis = plot_scores(inputs.evaluation, "evaluation").axes[0]
    names = [text.get_text() for text in axis.get_xticklabels()]
    assert names == ["baseline", "model", "constant\ncaption"]


def test_only_the_main_metrics_are_drawn(inputs: ReportInputs) -> None:
    metrics = dict.fromkeys(("bleu_1", "bleu_2", "bleu_3", *main_metrics(inputs.evaluation)), 0.5)
    metrics |= {"meteor": 0.2, "rouge_l": 0.3, "spice": 0.1, "rouge1": 0.5}
    scores = {name: replace(own, metrics=metrics) for name, own in inputs.evaluation.scores.items()}
    shown = main_metrics(replace(inputs.evaluation, scores=scores))
    assert shown == ["cider", "meteor", "bleu_4", "rouge_l", "spice", "distinct_captions"]


@pytest.mark.slow
def test_the_same_figures_give_the_same_bytes(inputs: ReportInputs, tmp_path: Path) -> None:
    one, two = (write_plots(tmp_path / name, inputs) for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
