"""Files are written atomically, also when the disk is full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.storage import (
    append_jsonl,
    cannot_write,
    fold_name,
    open_folder,
    portable_name,
    read_json_objects,
    refuse_existing,
    write_jsonl,
    write_text,
)

# Python ignores the signal for a file over its limit, so the write fails as on a full disk.
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


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_text(path, "old")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"cannot write {path}: ")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_names_a_folder_that_has_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "scores.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*scores\.json"):
        write_text(tmp_path / "scores.json", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "scores.json"]


def test_an_output_folder_is_created_and_a_file_of_that_name_is_refused(tmp_path: Path) -> None:
    open_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to the folder") as error:
        open_folder(tmp_path / "file")
    assert (error.value.where, error.value.fix) == ("--out", "choose another folder with --out")


def test_an_empty_folder_may_be_used_and_one_with_files_may_not(tmp_path: Path) -> None:
    refuse_existing(tmp_path)
    refuse_existing(tmp_path / "absent")
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(OutputError, match="exists already"):
            refuse_existing(place)


@pytest.mark.parametrize(
    ("name", "portable"),
    [
        ("photo.jpg", "photo.jpg"),
        ("größe 1.jpg", "größe 1.jpg"),
        (".hidden", ".hidden"),
        ("CONTENT.jpg", "CONTENT.jpg"),
        ("CON", "_CON"),
        ("nul.jpg", "_nul.jpg"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("COM\u00b2", "_COM\u00b2"),
        ("a:b.jpg", "a_b.jpg"),
        ('what?"<>|*.jpg', "what______.jpg"),
        ("a\x07\x1fb.jpg", "a__b.jpg"),
        ("end. . ", "end"),
        ("...", "_"),
    ],
)
def test_only_names_that_windows_refuses_are_changed(name: str, portable: str) -> None:
    assert portable_name(name) == portable


def test_names_are_compared_without_case_and_with_composed_accents() -> None:
    assert fold_name("Caf\u00e9.JPG") == fold_name("cafe\u0301.jpg")
    assert fold_name("a.jpg") != fold_name("b.jpg")


@pytest.mark.parametrize("code", [3, 206])
def test_a_path_that_is_too_long_for_windows_has_its_own_advice(tmp_path: Path, code: int) -> None:
    error = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
    error.winerror = code  # type: ignore[attr-defined]
    path = tmp_path / ("x" * 120) / ("y" * 120) / "z.jpg"
    result = cannot_write(path, error)
    assert f"this path has {len(str(path))} characters; Windows allows 259" in result.what
    assert "shorter path, or enable long paths in Windows" in result.fix
    assert "characters" not in cannot_write(Path("/a.jpg"), error).what


def test_json_lines_keep_the_line_breaks_inside_captions(tmp_path: Path) -> None:
    rows = [{"caption": "one\u2028two\x85three\x0bfour"}, {"caption": "last"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_json_objects(tmp_path / "rows.jsonl", fix="") == rows


def test_a_line_is_appended_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"step": 1})
    append_jsonl(path, {"step": 2, "loss": float("inf")})
    assert path.read_text(encoding="utf-8") == '{"step": 1}\n{"step": 2, "loss": null}\n'
    with pytest.raises(OutputError, match="cannot write") as error:
        append_jsonl(tmp_path / "absent" / "log.jsonl", {}, then="resume with --resume")
    assert "resume with --resume" in error.value.fix


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes are files on POSIX systems")
def test_only_regular_files_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (Path("/dev/full"), tmp_path / "pipe"):
        with pytest.raises(OutputError, match=str(place)):
            write_text(place, "a caption")
