"""Predictions as rows of JSON and CSV."""

from __future__ import annotations

import csv
import io
import math

import pytest

from captune.inference import csv_text, parse_csv, prediction_row
from captune.records import Prediction


def prediction(image_id: str, caption: str = "a dog", logprob: float = -0.5) -> Prediction:
    return Prediction(image_id, caption, logprob, 3, "eos", ())


def test_a_logprob_that_is_not_finite_is_null():
    assert prediction_row(prediction("a", logprob=math.nan))["mean_logprob"] is None


@pytest.mark.parametrize("start", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "＝1"])
def test_csv_cells_cannot_start_formulas(start):
    text = csv_text([prediction_row(prediction(start, start))], with_header=True)
    _, cells = csv.reader(io.StringIO(text, newline=""))
    assert cells[:3] == [f"'{start}", f"'{start}", "-0.5"]
    (row,) = parse_csv(text)
    assert (row["image_id"], row["caption"]) == (start, start)
