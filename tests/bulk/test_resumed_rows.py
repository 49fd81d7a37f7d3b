"""Images that have a row in every output are skipped by one query; the outputs stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captune.bulk import FeedSettings
from captune.bulk.formats import open_collected
from captune.errors import OutputError
from support.bulk.hostile_images import write_photos
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import write_stub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


def names_in(path: Path) -> list[str]:
    return [Path(json.loads(line)["image_id"]).name for line in path.read_text().splitlines()]


def test_a_row_that_only_one_of_two_outputs_lacks_is_added_to_it(model, photos, tmp_path) -> None:
    out = tmp_path / "out"
    caption(model, photos, to=("jsonl", "csv"), out=out)
    rows = (out / "captions.csv").read_text().splitlines(keepends=True)
    (out / "captions.csv").write_text("".join(rows[:-1]))
    result = caption(model, photos, to=("jsonl", "csv"), out=out)
    assert (result.outcome.num_skipped, result.outcome.num_done) == (4, 1)
    assert names_in(out / "captions.jsonl") == [f"photo{n:06}.png" for n in range(5)]
    assert (out / "captions.csv").read_text().splitlines(keepends=True) == rows


def test_an_unfinished_output_gets_the_rows_that_it_lacks(model, photos, tmp_path) -> None:
    out = tmp_path / "captions.jsonl"
    caption(model, photos, out=out, feed=FeedSettings(limit=3))
    result = caption(model, photos, out=out)
    assert (result.outcome.num_skipped, result.outcome.num_done) == (3, 2)
    assert sorted(names_in(out)) == [f"photo{n:06}.png" for n in range(5)]


@pytest.mark.parametrize("ending", ["jsonl", "webdataset"])
def test_rows_are_kept_if_completing_an_interrupted_output_fails(
    model, photos, tmp_path, monkeypatch, ending
) -> None:
    out = tmp_path / f"o.{ending}"
    given = {"to": (ending,), "out": out}
    first = sorted(photos.iterdir())[0]
    caption(model, first, **given)

    def refuse(*_words: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    for _ in range(2):
        with monkeypatch.context() as full, pytest.raises(OutputError, match="No space left"):
            full.setattr(Path, "replace", refuse)
            caption(model, photos, **given)
    outcome = caption(model, photos, **given).outcome
    assert (outcome.num_done, outcome.num_failed) == (0, 0)
    assert len(list(open_collected(ending, out).earlier_names())) == outcome.num_skipped
    assert not list(tmp_path.rglob("*.part"))


def test_a_finished_row_is_an_error_where_captions_must_not_exist(model, photos, tmp_path) -> None:
    out = tmp_path / "captions.jsonl"
    caption(model, photos, out=out)
    with pytest.raises(OutputError, match="has a caption already"):
        caption(StubModel(model), photos, out=out, existing="error")


def test_overwriting_captions_every_image_again(model, photos, tmp_path) -> None:
    out = tmp_path / "captions.jsonl"
    caption(model, photos, out=out)
    result = caption(StubModel(model), photos, out=out, existing="overwrite")
    assert (result.outcome.num_skipped, result.outcome.num_done) == (0, 5)
