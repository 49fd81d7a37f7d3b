"""`captune run`, `train`, `demo`: arguments become a recipe; errors come before any work."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from pathlib import Path

import pytest

from captune.cli import main


@pytest.mark.parametrize("command", [["run", "demo"], ["train", "demo"], ["demo"]])
def test_an_invalid_setting_exits_2_before_any_folder_is_created(
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
    for expected in ("prepare: done in", "prepare: already done, skipped"):
        with pytest.raises(SystemExit) as caught:
            main([*words, str(tmp_path / "run")])
        assert caught.value.code == 0
        assert expected in capsys.readouterr().out
    assert "path: shapes:12" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_an_interrupted_run_exits_130_and_prints_the_command_that_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A shell starts background jobs with SIGINT ignored; this test may run in one.
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


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("name=a\x1b[2Jb", "name"),
        ("train.\x1b[2J=1", "train"),
        ("model.size=\x1b[2Jblip-tiny", "model.size"),
        ("model.checkpoint=./\x1b[2Jmodel", "model.checkpoint"),
        ("model.tokenizer=./\x1b[2Jtokenizer", "model.tokenizer"),
        ("data.path=./\x1b[2Jdata", "data"),
    ],
)
def test_a_setting_cannot_steer_the_terminal(
    setting: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "demo", "--only", "prepare", "--set", "model.size=null", "--set", setting]
    if name != "model.checkpoint":
        words[5] = "model.size=blip-tiny"
    with pytest.raises(SystemExit) as caught:
        main(words)
    printed = capsys.readouterr()
    assert caught.value.code == 2, printed
    assert name in printed.err
    assert "\\x1b[2J" in printed.err
    assert "\x1b" not in printed.err + printed.out


@pytest.mark.parametrize("words", [["run"], ["recipes"], ["train"]])
def test_the_name_of_a_missing_recipe_cannot_steer_the_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for source in ("\x1b[2Jdemo", "./\x1b[2J\n.yaml"):
        with pytest.raises(SystemExit) as caught:
            main([*words, source])
        assert caught.value.code == 2
        printed = capsys.readouterr().err
        assert "\\x1b[2J" in printed
        assert "\x1b" not in printed
