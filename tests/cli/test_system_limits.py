"""A system without memory or threads, and a launcher's processes: advice instead of a traceback."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from captune.cli import main


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 1.00 TiB for an array"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_running_out_of_memory_exits_2_with_advice(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    import torch  # noqa: F401 - it tells its own errors apart

    def fail() -> None:
        raise error

    add_command(fail)
    assert leave("x") == 2
    errors = capsys.readouterr().err
    reason = str(error) or "no reason given"
    assert errors.startswith(f"error: memory ran out ({reason})\n  fix:   ")
    assert "--batch-size" in errors


def test_a_system_without_room_for_threads_exits_2_with_advice(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    add_command(fail)
    assert leave("x") == 2
    assert "data.num_workers" in capsys.readouterr().err


def test_a_system_without_a_temporary_folder_exits_2_with_advice(
    add_command: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail() -> None:
        with monkeypatch.context() as patched:
            # As in a container whose disks are all read-only.
            patched.setattr(tempfile, "tempdir", None)
            patched.setattr(
                tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")]
            )
            tempfile.gettempdir()

    add_command(fail)
    assert leave("x") == 2
    assert "fix:   set TMPDIR" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps the current folder")
@pytest.mark.parametrize("words", [("run", "demo", "--dry-run"), ("doctor",)])
def test_a_deleted_current_folder_exits_2_with_advice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert leave(*words) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: the current folder was deleted\n  fix:   ")


@pytest.mark.parametrize("words", [("caption", "m", "a.jpg"), ("evaluate", "m"), ("data", "check")])
def test_a_command_of_one_process_is_refused_under_a_launcher(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert leave(*words) == 2
    errors = capsys.readouterr().err
    assert f"started captune {words[0]} 2 times" in errors
    assert "start it without the launcher" in errors
    assert ("--shard 1/2" in errors) == (words[0] == "caption")


def test_variables_of_a_cluster_alone_are_no_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert leave("recipes") == 0


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_a_benchmark_waits_for_no_other_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv(variable, "2")
    assert leave("bench", "data", "photos") == 2
    assert f"or unset {variable}" in capsys.readouterr().err


def test_a_stop_that_a_library_replaces_by_its_own_error_is_a_stop(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as stop:
            # As an import in C does.
            raise ImportError("numpy failed to import") from stop

    add_command(work)
    assert leave("x") == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"
