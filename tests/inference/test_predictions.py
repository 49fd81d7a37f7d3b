"""Predictions written to JSONL and read back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from captune.errors import DataError
from captune.inference import read_predictions, write_predictions
from captune.records import Prediction


def test_predictions_are_read_back_unchanged(tmp_path: Path) -> None:
    written = [
        Prediction("1", 'a "dog"\nruns \x00 \ud800', -0.25, 7, "eos"),
        Prediction("ünï", "", -1.5, 30, "length", ("empty", "repetition")),
    ]
    write_predictions(tmp_path / "a" / "p.jsonl", written)
    assert read_predictions(tmp_path / "a" / "p.jsonl") == written


def test_a_log_probability_of_nan_is_null_in_the_file(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.jsonl", [Prediction("1", "", math.nan, 0, "eos")])
    assert json.loads((tmp_path / "p.jsonl").read_text())["mean_logprob"] is None
    assert math.isnan(read_predictions(tmp_path / "p.jsonl")[0].mean_logprob)


def test_id_and_caption_are_enough_for_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"image_id": 5, "caption": "a dog"}\n\n')
    prediction = read_predictions(tmp_path / "p.jsonl")[0]
    assert (prediction.image_id, prediction.caption) == ("5", "a dog")


@pytest.mark.parametrize("line", ["not json", "[1]", '{"image_id": "1"}', '"text"', "3"])
def test_the_error_names_a_line_that_is_not_a_prediction(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"image_id": "0", "caption": ""}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "p.jsonl")
    assert "line 2" in str(caught.value)


def test_the_error_for_a_missing_file_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no predictions") as caught:
        read_predictions(tmp_path / "p.jsonl")
    assert "captune run RECIPE --from evaluate --only evaluate" in str(caught.value)


def test_an_image_with_two_predictions_is_refused(tmp_path: Path) -> None:
    line = '{"image_id": "7", "caption": "a"}\n'
    (tmp_path / "p.jsonl").write_text(line + line)
    with pytest.raises(DataError, match="image 7 has two predictions"):
        read_predictions(tmp_path / "p.jsonl")


def test_damaged_captions_of_the_untrained_model_are_rewritten_by_the_baseline(
    tmp_path: Path,
) -> None:
    (tmp_path / "before.jsonl").write_text("[]\n")
    with pytest.raises(DataError) as caught:
        read_predictions(tmp_path / "before.jsonl")
    assert "captune run RECIPE --from baseline --only baseline" in caught.value.fix
