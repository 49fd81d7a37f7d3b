"""Names of images are not interned: Python 3.12 would never free the names of a library."""

from __future__ import annotations

import sys

import pytest

from captune.bulk import FeedSettings
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_run_interns_no_name_of_an_image(model, tmp_path, monkeypatch, is_resumed):
    photos = write_photos(tmp_path / "photos", 25)
    if is_resumed:
        caption(
            model, tmp_path / "photos", out=tmp_path / "captions.jsonl", feed=FeedSettings(limit=5)
        )
    interned, intern = set(), sys.intern

    def note(text):
        interned.add(text)
        return intern(text)

    # What `pathlib` calls for each part of each path.
    monkeypatch.setattr(sys, "intern", note)
    result = caption(model, tmp_path / "photos", out=tmp_path / "captions.jsonl")
    assert result.outcome.num_done == (20 if is_resumed else 25)
    assert "captions.jsonl.part" in interned
    assert not interned & {photo.name for photo in photos}
