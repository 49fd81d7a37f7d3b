"""The table of runs, and the command that prints it and writes the page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from captune import __version__
from captune.cli import main
from captune.evaluation import render_table
from captune.runs import list_runs, search_runs
from runs.conftest import MakeRun


def leave(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def runs(make_run: MakeRun, good: dict[str, str], tmp_path: Path) -> Path:
    """Return a folder with a good run, a poor one, and a folder of something else."""
    make_run("good_1", good)
    poor = make_run("poor", {})
    stages = json.loads((poor / "stages.json").read_text().replace("-03-01", "-02-01"))
    (poor / "stages.json").write_text(json.dumps(stages))
    (tmp_path / "runs" / "other").mkdir()
    return tmp_path / "runs"


def test_the_newest_run_is_first_and_folders_of_other_things_are_last(runs: Path) -> None:
    lines = render_table(list_runs(search_runs([runs])), "markdown").split("\n")
    assert (
        lines[0] == "| run | state | CIDEr | BLEU-4 | Word error rate | images | time | finished |"
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:5]]
    assert [row[0] for row in cells] == [r"good\_1", "poor", "other"]
    assert cells[0][1:2] + cells[0][5:] == ["finished", "8", "1 min 02 s", "2026-03-01 10:00"]
    assert cells[2] == ["other", "not a run: empty", "–", "–", "–", "", "", ""]
    start = "split:test|refs:2|images:8|tok:ptb-3.4.1|decoding:num_beams=3,max_new_tokens=30"
    assert lines[-1] == f"`{start}|captune:{__version__}`"


def test_csv_has_plain_numbers_and_the_signature(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("runs", runs, "--table", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    scores = json.loads((runs / "good_1" / "scores.json").read_text())["after"]
    good = rows[0]
    assert good["cider"] == f"{scores['metrics']['cider']:.3f}"
    assert good["cider_low"] == f"{scores['intervals']['cider'][0]:.3f}"
    assert (good["images"], good["seconds"]) == ("8", "62")
    assert good["signature"].startswith("split:test|refs:2|images:8|")
    assert rows[2]["cider"] == ""
    assert not (runs / "runs.html").exists()


def test_runs_scored_in_different_ways_are_announced(runs: Path) -> None:
    path = runs / "poor" / "scores.json"
    path.write_text(path.read_text().replace("split:test", "split:val"))
    text = render_table(list_runs(search_runs([runs])), "plain")
    assert text.endswith("2 signatures: runs scored in different ways cannot be compared")


def test_without_a_table_the_page_is_written_and_may_be_written_again(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("runs", runs) == 0
    assert leave("runs", runs) == 0
    assert f"page: {runs / 'runs.html'} (3 runs)" in capsys.readouterr().out
    assert (runs / "runs.html").stat().st_size > 10_000


def test_a_file_of_someone_else_is_not_overwritten(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "runs.html").write_text("mine")
    assert leave("runs", runs) == 2
    assert "runs.html" in capsys.readouterr().err
    assert (runs / "runs.html").read_text() == "mine"
    assert leave("runs", runs, "--force") == 0
    assert leave("runs", runs, "--out", runs, "--force") == 2


@pytest.mark.skipif("os.name == 'nt'", reason="devices of POSIX")
def test_a_device_in_place_of_the_page_is_refused_and_not_read(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("runs", runs, "--out", "/dev/zero") == 2
    assert "/dev/zero is a device" in capsys.readouterr().err


def test_an_empty_folder_has_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs").mkdir()
    assert leave("runs", tmp_path / "runs") == 0
    assert "no runs in" in capsys.readouterr().err
    assert leave("runs", tmp_path / "none") == 2


def test_a_narrow_terminal_gets_a_table_that_fits(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = {}
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert leave("runs", runs, "--force") == 0
        shown[columns] = capsys.readouterr().out.split("\n")[1]
    assert "[" in shown["200"]
    assert "[" not in shown["80"]
    assert len(shown["80"]) <= 80
