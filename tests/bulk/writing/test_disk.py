"""A file that is replaced keeps its owner, its permissions and its tags."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from captune.bulk import undo_run
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub

pytestmark = pytest.mark.skipif(
    not hasattr(os, "setxattr"), reason="extended attributes and owners of Linux"
)
_TAGS = "user.xdg.tags"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (path,) = write_photos(tmp_path / "photos", 1)
    path.chmod(0o640)
    try:
        os.setxattr(path, _TAGS, b"holiday,sea")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    return path


def facts(path: Path) -> tuple[int, int, int, bytes]:
    state = path.stat()
    mode = stat.S_IMODE(state.st_mode)
    return mode, state.st_uid, state.st_gid, os.getxattr(path, _TAGS)


def test_an_image_with_a_new_caption_keeps_its_tags_and_permissions(tmp_path, image):
    before, content = facts(image), image.read_bytes()
    result = caption(write_stub(tmp_path / "model"), image.parent, to=("metadata",))
    assert image.read_bytes() != content
    assert facts(image) == before
    undo_run(result.run_id)
    assert (image.read_bytes(), facts(image)) == (content, before)


@pytest.mark.skipif("os.name == 'nt' or os.geteuid() != 0", reason="only root gives files away")
def test_a_run_by_root_does_not_take_files_from_their_owner(tmp_path, image):
    os.chown(image, 12345, 12346)
    image.chmod(0o2640)
    before = facts(image)
    caption(write_stub(tmp_path / "model"), image.parent, to=("metadata",))
    assert facts(image) == before
    assert before[:3] == (0o2640, 12345, 12346)
