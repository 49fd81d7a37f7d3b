"""A run is read as its folder holds it: whatever is damaged becomes a state, never an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from captune.errors import DataError
from captune.runs import read_saved_run, search_runs
from captune.storage import lock_folder
from runs.conftest import MakeRun


def test_a_finished_run_has_settings_scores_curve_and_time(
    make_run: MakeRun, good: dict[str, str]
) -> None:
    run = read_saved_run(make_run("one", good, train={"epochs": 2}), name="one")
    assert (run.state, run.detail) == ("finished", "")
    assert run.settings["train.epochs"] == 2
    assert run.scores["after"].num_images == 8
    assert run.log["val_cider"] == ((1, 0.1), (2, 0.2), (3, pytest.approx(0.3)))
    assert (run.finished, run.seconds) == ("2026-03-01T10:00:00+0000", 62.5)
    assert run.report == run.folder / "report.html"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("scores.json", '{"after": {"metr'),
        ("scores.json", "[]"),
        ("scores.json", '{"systems": {"after": {"metrics": {"cider": "high"}}}}'),
        ("scores.json", '{"systems": {}}'),
        ("stages.json", '{"train": {"finished": 3}}'),
        ("stages.json", "\x00" * 50),
        ("recipe.yaml", "train: {epochs: many}"),
        ("recipe.yaml", "a: [1"),
        ("environment.json", "[" * 100_000),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_read(
    make_run: MakeRun, good: dict[str, str], file: str, content: str
) -> None:
    folder = make_run("one", good)
    (folder / file).write_text(content)
    run = read_saved_run(folder, name="one")
    assert run.state == "damaged"
    assert run.detail.startswith(f"{file}: ")
    assert "\n" not in run.detail
    assert run.log


def test_unfinished_runs_tell_where_they_stopped(make_run: MakeRun, good: dict[str, str]) -> None:
    folder = make_run("one", good)
    stages = json.loads((folder / "stages.json").read_text())
    for name in ("train", "evaluate", "report"):
        del stages[name]
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "scores.json").unlink()
    assert read_saved_run(folder, name="").detail == "stopped before train"
    (folder / "checkpoints" / "step-000010").mkdir(parents=True)
    run = read_saved_run(folder, name="")
    assert (run.state, run.detail) == ("unfinished", "stopped in train")
    (folder / "stages.json").unlink()
    assert read_saved_run(folder, name="").detail == "stopped before prepare"


def test_a_run_that_another_command_writes_is_running(
    make_run: MakeRun, good: dict[str, str]
) -> None:
    folder = make_run("one", good)
    with lock_folder(folder):
        assert (read_saved_run(folder, name="").state) == "running"
    assert read_saved_run(folder, name="").state == "finished"


def test_a_finished_run_without_its_scores_is_damaged(
    make_run: MakeRun, good: dict[str, str]
) -> None:
    folder = make_run("one", good)
    (folder / "scores.json").unlink()
    run = read_saved_run(folder, name="")
    assert (run.state, run.detail) == ("damaged", "without scores.json")


def test_reading_changes_nothing(make_run: MakeRun, good: dict[str, str]) -> None:
    folder = make_run("one", good)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    read_saved_run(folder, name="")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_runs_are_found_below_folders_and_others_are_listed(
    make_run: MakeRun, good: dict[str, str], tmp_path: Path
) -> None:
    make_run("a", good)
    make_run("series/b", good)
    runs = tmp_path / "runs"
    (runs / "empty").mkdir()
    shutil.copytree(runs / "a" / "predictions", runs / "notes")
    (runs / ".captune").mkdir()
    (runs / "loop").symlink_to(runs)
    found = {run.name: (run.state, run.detail) for run in search_runs([runs, runs / "a"])}
    assert found["a"] == ("finished", "")
    assert found["series/b"] == ("finished", "")
    assert found["empty"] == ("not a run", "empty")
    assert found["notes"] == ("not a run", "without files of a run")
    assert ".captune" not in found
    assert sum(name.endswith("a") for name in found) == 1


def test_a_run_can_be_given_itself(make_run: MakeRun, good: dict[str, str]) -> None:
    folder = make_run("a", good)
    assert [run.name for run in search_runs([folder])] == ["a"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, reason in (("none", "does not exist"), ("file", "is a file")):
        with pytest.raises(DataError, match=reason):
            search_runs([tmp_path / name])


def test_runs_of_one_name_are_named_by_more_of_their_paths(
    make_run: MakeRun, good: dict[str, str], tmp_path: Path
) -> None:
    make_run("a/demo", good)
    make_run("b/demo", good)
    make_run("b/other", good)
    runs = search_runs([tmp_path / "runs" / "a", tmp_path / "runs" / "b"])
    assert [run.name for run in runs] == ["a/demo", "b/demo", "other"]
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "more" / "a")
    runs = search_runs([tmp_path / "runs" / "a", tmp_path / "more" / "a"])
    assert [run.name for run in runs] == ["runs/a/demo", "more/a/demo"]


def test_scores_beyond_all_numbers_are_damage(make_run: MakeRun, good: dict[str, str]) -> None:
    folder = make_run("one", good)
    text = (folder / "scores.json").read_text()
    (folder / "scores.json").write_text(text.replace('"num_images": 8', '"num_images": Infinity'))
    run = read_saved_run(folder, name="one")
    assert (run.state, run.scores) == ("damaged", {})


def test_a_folder_that_cannot_be_searched_is_not_a_run(tmp_path: Path) -> None:
    run = read_saved_run(tmp_path / ("x" * 300), name="x")
    assert run.state == "not a run"
    assert run.detail
