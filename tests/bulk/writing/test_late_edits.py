"""A text that a user writes after the last look at a file is not replaced."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from captune.bulk.writing.disk import Disk
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


def write_late(folder: Path) -> tuple[Path, Path]:
    """Return a temporary file, and the user's, with the name that it should get."""
    temporary, target = folder / ".captune-1.part", folder / "photo.txt"
    Disk().write(temporary, b"a boat\n", like=target)
    target.write_text("mine")
    return temporary, target


@pytest.mark.parametrize("has_links", [True, False])
def test_a_name_that_a_file_has_by_now_is_not_taken(tmp_path, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    temporary, target = write_late(tmp_path)
    assert not Disk().create(temporary, target)
    assert target.read_text() == "mine"
    target.unlink()
    assert Disk().create(temporary, target)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.txt"]
    assert target.read_text() == "a boat\n"


def refuse(*_: object, **__: object) -> None:
    """Say what exFAT says of links."""
    raise OSError(errno.EPERM, "Operation not permitted")


def test_no_caption_replaces_a_text_that_is_written_at_the_same_moment(tmp_path, monkeypatch):
    """A stat that answers late: the user's text is written after it looked."""
    (photo,) = write_photos(tmp_path / "photos", 1)
    target, look = photo.with_suffix(".txt"), os.stat
    looks = []

    def look_and_wait(path, *args, **settings):
        try:
            return look(path, *args, **settings)
        finally:
            if os.fspath(path) == str(target) and list(photo.parent.glob(".captune-*.part")):
                looks.append(path)
                # The first look is for the permissions of an earlier file.
                if len(looks) == 2:
                    target.write_text("mine")

    monkeypatch.setattr(os, "stat", look_and_wait)
    result = caption(write_stub(tmp_path / "model"), tmp_path / "photos", to=("txt",))
    assert len(looks) >= 2
    assert target.read_text() == "mine"
    assert (result.outcome.num_done, result.outcome.num_skipped) == (0, 1)
