"""Captions on stdout: a reader that leaves ends what only it wanted."""

from __future__ import annotations

import io

import pytest

from captune.bulk import ReaderGoneError, Surroundings
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption


class _ReadOnce(io.BytesIO):
    """A pipe whose reader leaves after the first line, as `head -1` does."""

    def write(self, line: bytes) -> int:
        if self.tell():
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(line)


def test_a_reader_that_leaves_ends_a_run_only_if_nothing_else_is_written(model, tmp_path):
    photos = tmp_path / "photos"
    write_photos(photos, 3)
    with pytest.raises(ReaderGoneError):
        caption(model, photos, to=("stdout",), around=Surroundings(screen=_ReadOnce()))
    screen = _ReadOnce()
    caption(model, photos, to=("stdout", "txt"), around=Surroundings(screen=screen))
    assert screen.getvalue().count(b"\n") == 1
    assert len(list(photos.glob("*.txt"))) == 3
