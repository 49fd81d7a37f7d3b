"""scores.json and the results CSV."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from captune.evaluation import (
    AFTER,
    Evaluation,
    scores_section,
    write_results_csv,
    write_scores_json,
)
from captune.evaluation.scoring.score_files import relative_name
from captune.records import CaptionRecord, Prediction, Scores
from captune.storage import write_json, write_jsonl


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_scores_json_has_one_section_per_system_and_the_paired_tests(
    tmp_path: Path, evaluation: Evaluation
) -> None:
    write_scores_json(tmp_path / "scores.json", evaluation, extra={"truth_rate": 0.75})
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["truth_rate"] == 0.75
    assert content["num_images"] == 6
    for system in ("before", "after", "constant_caption"):
        assert set(content[system]) >= {"metrics", "intervals", "num_images", "signature"}
    assert content["constant_caption"]["caption"] == evaluation.constant_caption
    assert content["constant_caption"]["chosen_from"] == "training captions"
    test = content["paired"]["after_vs_before"]["cider"]
    assert set(test) == {"delta", "interval", "p_value", "wins", "ties", "losses"}
    delta = content["after"]["metrics"]["cider"] - content["before"]["metrics"]["cider"]
    assert test["delta"] == pytest.approx(delta)
    assert "after_vs_constant_caption" in content["paired"]


def test_extra_figures_do_not_override_a_section(tmp_path: Path, evaluation: Evaluation) -> None:
    write_scores_json(tmp_path / "s.json", evaluation, extra={"after": 1})
    assert json.loads((tmp_path / "s.json").read_text())["after"] != 1


def test_a_section_has_exactly_the_keys_that_the_json_option_promises(
    evaluation: Evaluation,
) -> None:
    section = scores_section(evaluation.scores[AFTER])
    assert set(section) == {"metrics", "intervals", "num_images", "signature"}


def test_values_that_json_cannot_express_become_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}})
    content = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert content == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    write_jsonl(tmp_path / "a.jsonl", [{"a": math.nan, "b": "é"}])
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == '{"a": null, "b": "é"}\n'


def test_the_csv_has_names_captions_and_one_column_per_metric(
    tmp_path: Path, records: list[CaptionRecord], after: list[Prediction], evaluation: Evaluation
) -> None:
    scores = evaluation.scores[AFTER]
    write_results_csv(tmp_path / "r.csv", records, predictions=after, scores=scores)
    rows = read_rows(tmp_path / "r.csv")
    header = ["filename", "actual_caption", "generated_caption", *scores.per_image]
    assert list(rows[0]) == header
    assert rows[0]["filename"] == "images/dog.png"
    assert rows[0]["actual_caption"] == "a red dog sits on the grass | one dog outside"
    assert rows[5]["generated_caption"] == "a blue bus"
    assert float(rows[0]["wer"]) == 0.0
    assert len(rows) == 6


def test_an_image_without_a_prediction_has_no_row_and_a_missing_score_is_an_empty_cell(
    tmp_path: Path, records: list[CaptionRecord], after: list[Prediction]
) -> None:
    scores = Scores({"m": 1.0}, {}, {"m": [0.5, math.nan]}, ("cat", "bird"), "")
    write_results_csv(tmp_path / "r.csv", records, predictions=after[1:4], scores=scores)
    rows = read_rows(tmp_path / "r.csv")
    assert [(row["filename"], row["m"]) for row in rows] == [
        ("images/cat.png", "0.5"),
        ("images/bird.png", ""),
        ("images/boat.png", ""),
    ]


def test_cells_that_a_spreadsheet_would_run_are_escaped(
    tmp_path: Path, records: list[CaptionRecord], evaluation: Evaluation
) -> None:
    hostile = [Prediction("dog", '=HYPERLINK("http://x","y")', -1.0, 4, "eos")]
    record = replace(records[0], captions=('+1 dog, "quoted"\nand more',), file_name="@x.png")
    write_results_csv(
        tmp_path / "r.csv", [record], predictions=hostile, scores=evaluation.scores[AFTER]
    )
    row = read_rows(tmp_path / "r.csv")[0]
    assert row["generated_caption"] == '\'=HYPERLINK("http://x","y")'
    assert row["actual_caption"].startswith('\'+1 dog, "quoted"\nand')
    assert row["filename"] == "'@x.png"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("images/a.png", "images/a.png"),
        ("/home/someone/data/a.png", "a.png"),
        ("C:\\photos\\a.png", "a.png"),
        ("", "the-id"),
    ],
)
def test_file_names_are_never_absolute(name: str, shown: str) -> None:
    assert relative_name(CaptionRecord("the-id", b"", file_name=name)) == shown
