"""Two commands never fill one folder: the second exits with 2 and names the first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.cli import main
from captune.pipeline import run
from captune.storage import lock_folder
from support.runs.recipes import recipe


def test_a_second_run_is_refused_and_changes_no_file(tmp_path: Path) -> None:
    from captune.errors import OutputError

    folder = tmp_path / "run"
    run(recipe(), only=["prepare"], out=folder, say=lambda _: None)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with (
        lock_folder(folder),
        pytest.raises(OutputError, match=f"is in use by process {os.getpid()} on "),
    ):
        run(recipe(), only=["prepare"], out=folder, say=lambda _: None)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path: Path) -> None:
    from captune.errors import CaptuneError

    with pytest.raises(CaptuneError):
        run(recipe(), only=["train"], out=tmp_path / "runs" / "a", say=lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("run", "demo", "--out", "{folder}"),
        ("init", "blip-tiny", "{folder}", "--train-tokenizer", "shapes:8", "--force"),
        ("data", "convert", "shapes:8", "{folder}", "--force"),
        ("data", "split", "shapes:8", "--out", "{folder}", "--force"),
        ("evaluate", "no-model", "--data", "shapes:8", "--out", "{folder}", "--force"),
        ("export", "no-model", "{folder}", "--to", "onnx", "--force"),
        ("compare", "one", "two", "--data", "shapes:8", "--out", "{folder}", "--force"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_every_command_that_fills_a_folder_respects_its_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    folder = tmp_path / "out"
    with lock_folder(folder), pytest.raises(SystemExit) as stopped:
        main([word.format(folder=folder) for word in words])
    assert stopped.value.code == 2
    assert "is in use by process" in capsys.readouterr().err
    assert not folder.exists()
