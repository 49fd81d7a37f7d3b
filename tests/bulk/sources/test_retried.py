"""A failure that can pass without a change of the file is retried by the next run."""

from __future__ import annotations

import pytest

from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


def test_a_file_that_appears_after_it_was_missing_is_captioned(tmp_path):
    model = write_stub(tmp_path / "model")
    write_photos(tmp_path / "photos", 1)
    late = tmp_path / "photos" / "late.png"
    late.symlink_to(tmp_path / "photos" / ".late.png")
    first = caption(model, tmp_path / "photos", to=("txt",)).outcome
    assert [error.what for _, error in first.failures] == ["missing"]
    photo(9).save(tmp_path / "photos" / ".late.png")
    second = caption(model, tmp_path / "photos", to=("txt",)).outcome
    assert (second.num_done, second.num_failed) == (1, 0)


@pytest.mark.parametrize("second_name", ["full"])
def test_images_that_shared_a_name_are_captioned_under_full_names(tmp_path, second_name):
    model = write_stub(tmp_path / "model")
    paths = write_photos(tmp_path / "photos", 1)
    photo(5).save(paths[0].with_suffix(".bmp"))
    named = [paths[0], paths[0].with_suffix(".bmp")]
    first = caption(model, *named, to=("txt",)).outcome
    assert [error.what for _, error in first.failures] == ["name_collision"]
    second = caption(model, *named, to=("txt",), naming=second_name).outcome
    assert second.num_failed == 0
    assert paths[0].with_name("photo000000.bmp.txt").is_file()
