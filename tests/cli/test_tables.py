"""`--table`: stdout holds only a table of rounded scores, messages go to stderr."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from captune import __version__
from captune.cli import main

REFERENCES = {"1": ["a red dog runs", "a dog runs"], "2": ["two cats sit"], "3": ["a bird flies"]}
GOOD = {"1": "a red dog runs", "2": "two cats sit", "3": "a bird sings"}
POOR = {"1": "a man", "2": "two cats", "3": "cats"}
SIGNATURE = f"refs:1-2|images:3|tok:ptb-3.4.1|captune:{__version__}"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in {"references": REFERENCES, "good_1": GOOD, "poor": POOR}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def score(*words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["score", "--references", "references.json", "--metrics", "bleu_1,wer", *words])
    assert caught.value.code == 0


def test_a_plain_table_of_one_file_is_all_that_stdout_holds(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score("--predictions", "good_1.json", "--table", "plain")
    printed = capsys.readouterr()
    # 9 of 10 words are right; in one image of three, one word of three is wrong.
    assert printed.out.split("\n") == [
        "metric                                           good_1",
        "BLEU-1                             0.900 [0.667, 1.000]",
        "Word error rate (lower is better)  0.111 [0.000, 0.333]",
        SIGNATURE,
        "",
    ]
    assert "bleu_1|variant:coco" in printed.err


def test_latex_of_two_files_has_the_paired_test(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score("--predictions", "poor.json", "--predictions", "good_1.json", "--table", "latex")
    lines = capsys.readouterr().out.split("\n")
    assert lines[0] == r"% \usepackage{booktabs}"
    assert lines[1] == f"% {SIGNATURE}"
    assert lines[2] == r"\begin{tabular}{lrrrr}"
    assert lines[4] == r"metric & poor & good\_1 & change & p \\"
    assert lines[6].startswith("BLEU-1 & 0.")
    assert lines[-2] == r"\end{tabular}"


def test_csv_has_a_row_per_metric_and_system_and_one_per_test(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score("--predictions", "poor.json", "--predictions", "good_1.json", "--table", "csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(r["metric"], r["system"], r["against"]) for r in rows] == [
        ("bleu_1", "poor", ""),
        ("wer", "poor", ""),
        ("bleu_1", "good_1", ""),
        ("wer", "good_1", ""),
        ("bleu_1", "good_1", "poor"),
        ("wer", "good_1", "poor"),
    ]
    good, test = rows[2], rows[5]
    assert (good["value"], good["low"], good["high"]) == ("0.900", "0.667", "1.000")
    assert float(test["value"]) < 0 < float(test["p"]) < 1
    assert {row["signature"] for row in rows} == {SIGNATURE}


def test_json_is_the_same_with_and_without_a_table(files: Path) -> None:
    score("--predictions", "good_1.json", "--json", "a.json")
    score("--predictions", "good_1.json", "--json", "b.json", "--table", "markdown")
    assert (files / "a.json").read_bytes() == (files / "b.json").read_bytes()


def test_three_files_get_a_second_table_with_every_pair(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "other.json").write_text(json.dumps(GOOD | {"1": "a dog"}))
    given = [w for n in ("poor", "good_1", "other") for w in ("--predictions", f"{n}.json")]
    score(*given, "--table", "markdown")
    output = capsys.readouterr().out
    assert "| Word error rate (lower is better): system | against | change | p |" in output
    rows = [line.split(" | ")[:2] for line in output.strip().split("\n\n")[2].split("\n")[2:]]
    assert rows == [[r"| good\_1", "poor"], ["| other", "poor"], ["| other", r"good\_1"]]


def test_in_a_narrow_terminal_names_wrap_and_intervals_do_not(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    two = ("--predictions", "poor.json", "--predictions", "good_1.json")
    score(*two, "--metrics", "bleu_1,most_frequent_share")
    lines = [line.rstrip() for line in capsys.readouterr().out.split("\n")]
    assert any("[0.667, 1.000]" in line for line in lines)
    assert "  frequent caption" in lines
