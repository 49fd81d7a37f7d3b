"""Files appear whole or not at all, also where there is no room for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.storage import open_folder, refuse_existing, write_text

# Python ignores the signal of a file over its limit, and the write then fails as on a full disk.
_FULL_DISK = """
import resource, sys
from pathlib import Path
from captune.errors import OutputError
from captune.storage import write_text

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "new " * 1000)
except OutputError as error:
    print(error.what)
"""


def test_a_file_that_finds_no_room_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_text(path, "old")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*scores\.json"):
        write_text(tmp_path / "scores.json", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "scores.json"]


def test_an_output_folder_is_made_and_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to the folder") as error:
        open_folder(tmp_path / "file")
    assert (error.value.where, error.value.fix) == ("--out", "choose another folder with --out")


def test_an_empty_folder_is_free_and_a_full_one_is_not(tmp_path: Path) -> None:
    refuse_existing(tmp_path)
    refuse_existing(tmp_path / "absent")
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputError, match="exists already"):
            refuse_existing(place)
