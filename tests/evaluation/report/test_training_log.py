"""Curves read from log.jsonl."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from captune.evaluation import read_training_log
from captune.evaluation.report.training_log import parse_training_log


def test_training_and_validation_lines_of_a_step_are_merged() -> None:
    log = parse_training_log(['{"step": 5, "loss": 2.0}', '{"step": 5, "val_loss": 3.0}'])
    assert log.curve("loss").values == (2.0,)
    assert log.curve("val_loss").steps == (5,)


def test_a_step_logged_again_after_a_resume_keeps_only_its_later_value() -> None:
    log = parse_training_log(
        ['{"step": 5, "loss": 2.0}', '{"step": 6, "loss": 1}', '{"step": 5, "loss": 1.5}']
    )
    assert log.curve("loss").values == (1.5, 1.0)


def test_a_line_cut_off_by_a_kill_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_training_log(tmp_path / "log.jsonl").curve("loss").steps == (1,)


def test_values_that_are_not_numbers_are_skipped() -> None:
    log = parse_training_log(
        ['{"step": 1, "loss": NaN}', '{"step": 2, "loss": "x"}', "3", '{"loss": 1}']
    )
    assert log.curve("loss").values == ()


def test_names_of_validation_metrics_do_not_include_the_loss() -> None:
    log = parse_training_log(['{"step": 1, "val_loss": 1, "val_cider": 0.5, "val_bleu_4": 0.1}'])
    assert log.metric_names() == ("val_cider", "val_bleu_4")


def test_a_run_without_a_log_has_empty_curves(tmp_path: Path) -> None:
    assert read_training_log(tmp_path / "log.jsonl").curve("loss").values == ()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes in folders")
def test_a_pipe_in_place_of_the_log_is_an_empty_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    assert read_training_log(tmp_path / "log.jsonl").curve("loss").values == ()
