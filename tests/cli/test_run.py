"""`captune run`, `train`, `demo`: words become a recipe and options; faults come before work."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from pathlib import Path

import pytest

from captune.cli import main


@pytest.mark.parametrize("command", [["run", "demo"], ["train", "demo"], ["demo"]])
def test_a_wrong_setting_exits_2_before_any_folder_is_made(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([*command, "--set", "train.epochs=-1", "--set", "sed=1"])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "2 settings cannot be used" in printed
    assert "--set sed=1: unknown setting sed (did you mean seed?)" in printed
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stage_exits_2_with_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["run", "demo", "--only", "prepare,trian"])
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "unknown stage 'trian'" in printed
    assert "prepare, baseline, train, evaluate, report" in printed


def test_one_stage_runs_alone_with_its_overrides_and_is_skipped_the_second_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "demo", "--only", "prepare", "--set", "data.path=shapes:12", "--out"]
    for expected in ("prepare: done in", "prepare: done before, skipped"):
        with pytest.raises(SystemExit) as caught:
            main([*words, str(tmp_path / "run")])
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out
    assert "path: shapes:12" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_an_interrupted_run_exits_130_and_prints_the_command_that_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A shell starts background jobs deaf to SIGINT; the test run may be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt_the_run() -> None:
        while not (tmp_path / "run" / "stages.json").exists():
            time.sleep(0.01)
        _thread.interrupt_main()

    words = ["run", "demo", "--set", "data.path=shapes:20", "--out", str(tmp_path / "run")]
    thread = threading.Thread(target=interrupt_the_run, daemon=True)
    thread.start()
    try:
        with pytest.raises(SystemExit) as caught:
            main([*words, "--set", "train.epochs=100000"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.code == 130
    printed = capsys.readouterr().err
    assert printed.startswith("stopped by SIGINT; resume with: captune run demo --set")
    assert printed.endswith("--set train.epochs=100000 --resume\n")
