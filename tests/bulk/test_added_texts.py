"""`--existing append`: a model's text is added to a file once, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from captune.bulk import undo_run
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


@pytest.mark.parametrize("is_undone", [True, False])
def test_each_model_adds_its_line_once_whichever_added_others_since(
    model, photos, tmp_path, is_undone
):
    given = {"to": ("txt",), "existing": "append"}
    other = write_stub(tmp_path / "other", seed=1)
    text = photos / "photo000000.txt"
    caption(model, photos, **given)
    second = caption(other, photos, **given)
    if is_undone:
        undo_run(second.run_id)
    before = text.read_bytes()
    assert before.count(b"\n") == (1 if is_undone else 2)
    assert caption(model, photos, **given).outcome.num_skipped == 5
    assert text.read_bytes() == before
    # A file that was replaced, or deleted, holds no line of this model any more.
    caption(other, photos, to=("txt",), existing="overwrite")
    (photos / "photo000001.txt").unlink()
    assert caption(model, photos, **given).outcome.num_done == 5
    assert text.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_line_is_added_once_by_whichever_path_the_library_is_named(
    model, photos, tmp_path, monkeypatch, is_moved
):
    given = {"to": ("txt",), "existing": "append"}
    caption(model, photos / "photo000001.png", photos / "photo000002.png", **given)
    if is_moved:
        photos = photos.rename(tmp_path / "moved")
    else:
        monkeypatch.chdir(photos)
    outcome = caption(model, photos if is_moved else Path(), **given).outcome
    assert (outcome.num_done, outcome.num_skipped) == (3, 2)
    assert {path.read_text().count("\n") for path in photos.glob("*.txt")} == {1}
