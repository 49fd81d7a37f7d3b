"""Files appear whole or not at all, also where there is no room for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.storage import (
    append_jsonl,
    fold_name,
    open_folder,
    portable_name,
    read_json_objects,
    refuse_existing,
    write_jsonl,
    write_text,
)

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
        ("a:b.jpg", "a_b.jpg"),
        ('what?"<>|*.jpg', "what______.jpg"),
        ("a\x07\x1fb.jpg", "a__b.jpg"),
        ("end. . ", "end"),
        ("...", "_"),
    ],
)
def test_names_that_windows_refuses_are_changed_and_others_are_not(
    name: str, portable: str
) -> None:
    assert portable_name(name) == portable


def test_names_are_compared_without_case_and_with_composed_accents() -> None:
    assert fold_name("Caf\u00e9.JPG") == fold_name("cafe\u0301.jpg")
    assert fold_name("a.jpg") != fold_name("b.jpg")


def test_lines_of_json_keep_the_line_ends_that_captions_hold(tmp_path: Path) -> None:
    rows = [{"caption": "one\u2028two\x85three\x0bfour"}, {"caption": "last"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_json_objects(tmp_path / "rows.jsonl", fix="") == rows


def test_a_line_is_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_jsonl(path, {"step": 1})
    append_jsonl(path, {"step": 2, "loss": float("inf")})
    assert path.read_text(encoding="utf-8") == '{"step": 1}\n{"step": 2, "loss": null}\n'
    with pytest.raises(OutputError, match="cannot write") as error:
        append_jsonl(tmp_path / "absent" / "log.jsonl", {}, then="resume with --resume")
    assert "resume with --resume" in error.value.fix
