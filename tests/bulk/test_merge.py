"""The files of shares, joined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captune.bulk import FeedSettings, merge_shares, read_share
from captune.bulk.formats.row_file import RowFile
from captune.errors import OutputError, RecipeError
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_joined_and_sorted_shares_equal_one_complete_run(model, tmp_path, ending):
    write_photos(tmp_path / "photos", 12)
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"joined.{ending}"
    caption(model, tmp_path / "photos", out=whole)
    for number in (1, 2, 3):
        feed = FeedSettings(share=read_share(f"{number}/3"))
        caption(model, tmp_path / "photos", out=tmp_path / f"c.{ending}", feed=feed)
    parts = sorted(tmp_path.glob(f"c-*-of-00003.{ending}"))
    assert len(parts) == 3
    twice = max(parts, key=lambda part: part.stat().st_size)
    result = merge_shares(out, [*parts, twice])
    assert result.num_rows == 12
    assert result.num_duplicates > 0
    if ending == "parquet":
        import pyarrow.parquet as pq

        tables = [pq.read_table(path).sort_by("image_id") for path in (whole, out)]
        assert tables[0].equals(tables[1])
    else:
        assert sorted(out.read_bytes().split(b"\n")) == sorted(whole.read_bytes().split(b"\n"))


def shares_of_two_models(tmp_path: Path, model: Path, ending: str) -> list[Path]:
    write_photos(tmp_path / "photos", 6)
    other = write_stub(tmp_path / "other", seed=1)
    for number, own in ((1, model), (2, other)):
        feed = FeedSettings(share=read_share(f"{number}/2"))
        caption(own, tmp_path / "photos", out=tmp_path / f"c.{ending}", feed=feed)
    return sorted(tmp_path.glob(f"c-*.{ending}"))


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_captions_of_two_models_are_not_joined_silently(model, tmp_path, ending):
    parts, out = shares_of_two_models(tmp_path, model, ending), tmp_path / f"o.{ending}"
    with pytest.raises(OutputError, match=r"c-00001.* and .*c-00002.* models or dec.*other") as e:
        merge_shares(out, parts)
    assert "--force" in e.value.fix
    assert not out.exists()
    assert merge_shares(out, parts, force=True).num_rows == 6
    # What made the rows of that file is not known.
    write_photos(tmp_path / "photos", 7)
    with pytest.raises(OutputError, match="has no record of the model and decoding"):
        caption(model, tmp_path / "photos", out=out)


def test_a_joined_file_keeps_the_model_of_its_parts(model, tmp_path):
    write_photos(tmp_path / "photos", 6)
    for number in (1, 2):
        feed = FeedSettings(share=read_share(f"{number}/2"))
        caption(model, tmp_path / "photos", out=tmp_path / "c.jsonl", feed=feed)
    out = tmp_path / "o.jsonl"
    merge_shares(out, sorted(tmp_path.glob("c-*.jsonl")))
    with pytest.raises(OutputError, match=r"another model or decoding .*model -> .*other"):
        caption(write_stub(tmp_path / "other", seed=1), tmp_path / "photos", out=out)
    write_photos(tmp_path / "photos", 7)
    assert caption(model, tmp_path / "photos", out=out).outcome.num_done == 1
    assert len(out.read_text().splitlines()) == 7


@pytest.mark.skipif("os.name == 'nt'", reason="links of POSIX")
def test_a_part_that_links_to_itself_is_not_taken_for_the_output(tmp_path):
    (tmp_path / "a.jsonl").symlink_to("a.jsonl")
    with pytest.raises(OutputError, match=r"a\.jsonl is a link that points nowhere") as caught:
        merge_shares(tmp_path / "o.jsonl", [tmp_path / "a.jsonl"])
    assert caught.value.where == "PART"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_numbers_that_no_model_gives_are_left_out(tmp_path, ending):
    part, out = tmp_path / "a.jsonl", tmp_path / f"o.{ending}"
    row = {"image_id": "a", "caption": "b", "mean_logprob": -(10**400), "num_tokens": 10**400}
    part.write_text(json.dumps(row) + "\n")
    assert merge_shares(out, [part]).num_rows == 1


def test_an_unfinished_or_missing_part_is_refused(tmp_path):
    part = tmp_path / "a.jsonl"
    part.write_text(json.dumps({"image_id": "a", "caption": "b"}) + "\n")
    with pytest.raises(OutputError, match=r"there is no .*b\.jsonl"):
        merge_shares(tmp_path / "o.jsonl", [part, tmp_path / "b.jsonl"])
    (tmp_path / "c.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"c\.jsonl is a folder, not a regular file"):
        merge_shares(tmp_path / "o.jsonl", [part, tmp_path / "c.jsonl"])
    Path(f"{part}.part").write_text("")
    with pytest.raises(OutputError, match=r"a\.jsonl is not finished"):
        merge_shares(tmp_path / "o.jsonl", [part])
    assert not (tmp_path / "o.jsonl").exists()


def test_an_existing_file_is_overwritten_on_request_only(tmp_path):
    part, out = tmp_path / "a.jsonl", tmp_path / "o.jsonl"
    part.write_text(json.dumps({"image_id": "a", "caption": "b"}) + "\n")
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        merge_shares(out, [part])
    assert merge_shares(out, [part], force=True).num_rows == 1


def test_a_missing_share_is_named_unless_missing_shares_are_allowed(tmp_path):
    parts = [tmp_path / f"c-{number:05}-of-00004.jsonl" for number in (1, 3)]
    for part in parts:
        part.write_text(json.dumps({"image_id": part.name, "caption": "b"}) + "\n")
    missing = tmp_path / "c-00002-of-00004.jsonl"
    with pytest.raises(OutputError) as caught:
        merge_shares(tmp_path / "o.jsonl", parts)
    assert caught.value.what == f"the file of share 2/4 is not given: {missing} (and 1 more)"
    assert not (tmp_path / "o.jsonl").exists()
    assert merge_shares(tmp_path / "o.jsonl", parts, allow_missing=True).num_rows == 2


def test_a_part_with_other_content_is_named_without_advice_to_overwrite_it(tmp_path):
    part = tmp_path / "a.jsonl"
    part.write_text('{"a": 1}\n')
    with pytest.raises(OutputError, match=r"a\.jsonl holds something other") as caught:
        merge_shares(tmp_path / "o.jsonl", [part])
    assert (caught.value.where, "--force" in str(caught.value)) == ("PART", False)
    with pytest.raises(OutputError, match=r"the ending of .*o\.txt names no format"):
        merge_shares(tmp_path / "o.txt", [part])


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_share_is_i_of_n(text):
    with pytest.raises(RecipeError, match="is not a share of a run"):
        read_share(text)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_what_a_killed_merge_left_is_discarded_by_the_next(tmp_path, monkeypatch, ending):
    part, out = tmp_path / "a.jsonl", tmp_path / f"o.{ending}"
    part.write_text(json.dumps({"image_id": "a", "caption": "b"}) + "\n")

    def die(_form):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(RowFile, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            merge_shares(out, [part])
    assert any(path.stat().st_size for path in tmp_path.glob("*o.*.part"))
    assert merge_shares(out, [part]).num_rows == 1
    assert merge_shares(tmp_path / "copy.jsonl", [out]).num_rows == 1
    assert not list(tmp_path.glob("*.part"))


def test_unfinished_captions_of_a_run_are_not_discarded(tmp_path):
    part, unfinished = tmp_path / "a.jsonl", tmp_path / "o.jsonl.part"
    part.write_text(json.dumps({"image_id": "a", "caption": "b"}) + "\n")
    unfinished.write_text(json.dumps({"image_id": "c", "caption": "d"}) + "\n")
    with pytest.raises(OutputError, match=r"o\.jsonl\.part may hold captions of a run"):
        merge_shares(tmp_path / "o.jsonl", [part], force=True)
    assert "c" in unfinished.read_text()
