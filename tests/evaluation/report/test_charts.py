"""Charts of training and of images: axes, marks and bars that lead to images."""

from __future__ import annotations

import json
import re
from html import unescape

from captune.evaluation.report.drawing.gain_chart import draw_gains
from captune.evaluation.report.drawing.intervals import draw_intervals
from captune.evaluation.report.drawing.training_charts import draw_training
from captune.evaluation.report.training_log import parse_training_log
from captune.records import Interval

LOG = parse_training_log(
    [
        '{"step": 10, "loss": 4.0}',
        '{"step": 50, "loss": 3, "val_loss": 3.5, "val_cider": 0.62, "val_distinct_captions": 0.9}',
        '{"step": 100, "val_loss": 3.2, "val_cider": 0.64, "val_distinct_captions": 0.88}',
    ]
)


def ticks(chart: str, anchor: str) -> list[str]:
    return re.findall(rf'class="tick"[^>]*text-anchor="{anchor}">([^<]+)<', chart)


def test_bounded_metrics_start_at_zero() -> None:
    charts = {item.label: item for item in draw_training(LOG, 100).metrics}
    assert ticks(charts["CIDEr"].chart, "end")[0] == "0"
    assert ticks(charts["Distinct captions"].chart, "end")[0] == "0"


def test_the_main_metric_comes_first() -> None:
    charts = draw_training(LOG, 100, main="distinct_captions").metrics
    assert [item.label for item in charts] == ["Distinct captions", "CIDEr"]


def test_no_step_is_called_the_best_in_variety() -> None:
    charts = {item.label: item for item in draw_training(LOG, 100).metrics}
    assert charts["CIDEr"].note == "best 0.640 at step 100"
    assert charts["Distinct captions"].note == "0.880 to 0.900"


def test_all_charts_share_one_horizontal_axis() -> None:
    charts = draw_training(LOG, None)
    axes = {tuple(ticks(c, "middle")) for c in (charts.loss, *(m.chart for m in charts.metrics))}
    assert len(axes) == 1


def test_a_line_marks_the_checkpoint_used() -> None:
    assert "checkpoint used" in draw_training(LOG, 50).loss
    assert "checkpoint used" not in draw_training(LOG, None).loss


def test_a_bar_of_gains_leads_to_exactly_its_images() -> None:
    gains = [0.0, 0.1, 0.11, -0.2, 0.4, 0.4]
    chart = draw_gains(gains, label="CIDEr")
    points = json.loads(unescape(re.search(r'data-readout="([^"]*)"', chart)[1]))  # type: ignore[index]
    total = 0
    for point in points:
        low, high = point["filter"].removeprefix("gain=").split(":")
        inside = [
            g for g in gains if (not low or g >= float(low)) and (not high or g <= float(high))
        ]
        assert point["rows"] == [["images", str(len(inside))]]
        total += len(inside)
    assert total == len(gains)


def test_equal_gains_have_no_chart() -> None:
    assert draw_gains([0.5, 0.5, float("nan")], label="CIDEr") == ""


def test_intervals_have_an_axis_with_numbers() -> None:
    rows = [("before", 0.3, Interval(0.25, 0.35)), ("after", 0.5, Interval(0.45, 0.55))]
    chart = draw_intervals(rows, title="95 % intervals of CIDEr")
    assert re.findall(r">([\d.]+)</text>", chart) == ["0.2", "0.6"]


def test_values_without_a_visible_difference_have_no_intervals() -> None:
    rows = [("before", 1e-18, Interval(1e-19, 1e-17)), ("after", 1e-18, Interval(0.0, 1e-17))]
    assert draw_intervals(rows, title="BLEU-4") == ""
