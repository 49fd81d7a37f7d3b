"""Atomic folders: the usual file modes, a clear error on a full disk, nothing half-written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from captune.errors import ModelError, OutputError
from captune.hub import find_model
from captune.pipeline.plan import RunOptions, plan_run
from captune.storage import (
    recover_folder,
    remove_folder,
    require_utf8,
    share_files,
    write_folder,
    write_into_folder,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_get_the_mode_of_any_other_file(tmp_path: Path, umask: int, mode: int) -> None:
    def write(folder: Path) -> None:
        save_file({"weight": torch.ones(3)}, folder / "model.safetensors")
        (folder / "sub").mkdir()
        (folder / "sub" / "config.json").write_text("{}")

    old = os.umask(umask)
    try:
        write_folder(tmp_path / "model", write)
        write_into_folder(tmp_path / "other", write)
    finally:
        os.umask(old)
    for folder in (tmp_path / "model", tmp_path / "other"):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert {path.name: mode_of(path) for path in files} == {
            "model.safetensors": mode,
            "config.json": mode,
        }


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_behind_a_link_is_replaced_and_the_link_stays(
    tmp_path: Path, is_there: bool
) -> None:
    large = tmp_path / "large disk" / "model"
    large.parent.mkdir()
    if is_there:
        large.mkdir()
        (large / "old").touch()
    link = tmp_path / "model"
    link.symlink_to(large)

    write_folder(link, lambda folder: (folder / "new").touch())
    assert link.is_symlink()
    assert [path.name for path in large.parent.rglob("*")] == ["model", "new"]
    # As a kill between the two renames leaves it.
    large.rename(large.with_name(".model.old"))
    recover_folder(link)
    assert (link / "new").is_file()
    remove_folder(link)
    assert not list(large.parent.iterdir())
    assert link.is_symlink()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "in use"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_replaced_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    write_folder(tmp_path / "model", lambda folder: (folder / "a").write_text("old") and None)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == ".model.new":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_folder(tmp_path / "model", lambda folder: (folder / "a").write_text("new") and None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "old"


def test_the_target_of_a_link_keeps_its_mode(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.touch(mode=0o600)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(private)
    share_files(tmp_path / "folder")
    assert mode_of(private) == 0o600


def test_files_are_added_to_a_folder_only_if_all_of_them_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "config.json").write_text("old")

    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device") as error:
        write_into_folder(tmp_path, fail)
    assert "free some disk space" in error.value.fix
    assert (tmp_path / "config.json").read_text() == "old"
    write_into_folder(tmp_path, lambda folder: (folder / "config.json").write_text("new") and None)
    assert (tmp_path / "config.json").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EROFS, "choose another path"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EFBIG, "choose another disk"),
        (errno.EIO, "fix this one"),
    ],
)
def test_each_reason_for_a_failed_write_has_its_own_advice(
    tmp_path: Path, number: int, fix: str
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError) as error:
        write_folder(tmp_path / "model", fail)
    assert os.strerror(number) in error.value.what
    assert fix in error.value.fix
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_the_disk_did_not_cause_is_raised_unchanged(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        write_folder(tmp_path / "model", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_tokenizers_cannot_take_is_refused_before_any_work(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(OutputError, match="the path of a model must be UTF-8"):
        plan_run("demo", only=(), out=place, options=RunOptions())
    place.mkdir()
    with pytest.raises(ModelError, match="must be UTF-8") as caught:
        find_model(str(place))
    assert "rename it" in caught.value.fix
    require_utf8(tmp_path / "caf\u00e9")
