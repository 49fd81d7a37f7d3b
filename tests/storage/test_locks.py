"""One command per folder and file: a second is refused; locks of dead processes do not count."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.storage import holds_folder, lock_file, lock_folder

_HOLD = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from captune.storage import lock_folder

with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


def test_the_second_process_is_refused_with_the_name_of_the_holder(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(OutputError) as error, lock_folder(tmp_path / "run"):
        pass
    today = time.strftime("%Y-%m-%d")
    assert f"process {holder.pid} on {socket.gethostname()} since {today}" in error.value.what
    assert str(tmp_path / "run") in error.value.what
    assert error.value.exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_the_lock_of_a_killed_process_is_taken_over(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / ".captune" / "folder.holder").exists()
    with lock_folder(tmp_path / "run"):
        pass


@pytest.mark.parametrize("note", ["", "[7]", "{}", "[" * 50_000])
def test_a_damaged_name_of_the_holder_is_not_shown(tmp_path: Path, note: str) -> None:
    with lock_folder(tmp_path):
        (tmp_path / ".captune" / "folder.holder").write_text(note)
        with (
            ThreadPoolExecutor(1) as other,
            pytest.raises(OutputError, match="is in use by another process"),
        ):
            other.submit(lambda: lock_folder(tmp_path).__enter__()).result()


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "new"), lock_file(tmp_path / "captions.jsonl"):
        assert (tmp_path / "new").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    with lock_folder(tmp_path / "kept"):
        pass
    assert list((tmp_path / "kept").iterdir()) == []


def test_each_file_of_a_folder_has_its_own_lock(tmp_path: Path) -> None:
    with (
        lock_file(tmp_path / "a.jsonl"),
        lock_file(tmp_path / "b.jsonl"),
        pytest.raises(OutputError, match=r"a\.jsonl is in use by process"),
        lock_file(tmp_path / "a.jsonl"),
    ):
        pass


def test_the_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"cannot write .*file/run"),
        lock_folder(tmp_path / "file" / "run"),
    ):
        pass


def test_a_thread_holds_a_folder_under_any_path_until_it_releases_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not holds_folder(Path("run"))
    with lock_folder(Path("run")):
        assert holds_folder(tmp_path / "run")
        assert not holds_folder(tmp_path / "run", purpose="captions")
        with ThreadPoolExecutor(1) as other:
            assert not other.submit(holds_folder, tmp_path / "run").result()
    assert not holds_folder(Path("run"))
