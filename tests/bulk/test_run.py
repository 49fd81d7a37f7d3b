"""A bulk run: what is done is skipped, what is known is not captioned, what is edited is kept."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from captune.bulk import BulkSettings, FeedSettings, Wording, find_items, preview_run, undo_run
from captune.errors import OutputError
from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import StubModel, caption, screen_of
from support.bulk.stub_captioner import (
    Behaviour,
    caption_of,
    poison,
    set_behaviour,
    write_stub,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_stub(tmp_path / "model", behaviour=Behaviour(records=True))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


def num_captioned(model: Path) -> int:
    log = model / "captioned.log"
    return log.read_text().count("\n") if log.exists() else 0


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["image_id"] for line in path.read_text().splitlines()]


def test_each_image_gets_its_caption_and_a_second_run_does_nothing(model, photos):
    result = caption(model, photos, to=("txt",))
    assert (result.outcome.num_found, result.outcome.num_done) == (5, 5)
    for path in sorted(photos.glob("*.png")):
        text = path.with_suffix(".txt").read_text()
        assert text == caption_of(Image.open(path).convert("RGB")) + "\n"
    again = StubModel(model)
    result = caption(again, photos, to=("txt",))
    assert (result.outcome.num_skipped, result.outcome.num_done, again.num_loads) == (5, 0, 0)


def test_the_screen_gets_path_tab_caption_in_order(model, photos):
    shutil.copy(photos / "photo000000.png", photos / "zz.png")
    lines = screen_of(model, photos).splitlines()
    assert [line.split("\t")[0] for line in lines] == sorted(map(str, photos.iterdir()))
    assert lines[0].split("\t")[1] == lines[-1].split("\t")[1]
    assert num_captioned(model) == 5


def test_names_cannot_control_the_terminal(model, tmp_path):
    photo(0).save(tmp_path / "a\n\x1b[2J\u202e.png")
    assert screen_of(model, tmp_path / "a\n\x1b[2J\u202e.png").count("\n") == 1
    assert "\x1b" not in screen_of(model, tmp_path / "a\n\x1b[2J\u202e.png")


def test_several_outputs_are_written_in_one_run(model, photos, tmp_path):
    out = tmp_path / "out"
    caption(model, photos, to=("txt", "jsonl", "csv"), out=out)
    assert len(list(photos.glob("*.txt"))) == 5
    assert len(ids_in(out / "captions.jsonl")) == 5
    assert (out / "captions.csv").read_text().count("\n") == 6
    assert num_captioned(model) == 5


def test_the_same_picture_under_a_thousand_names_is_captioned_once(model, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    photo(1).save(folder / "0000.png")
    for number in range(1, 1000):
        shutil.copy(folder / "0000.png", folder / f"{number:04}.png")
    result = caption(model, folder, out=tmp_path / "c.jsonl")
    assert (num_captioned(model), result.outcome.num_done) == (1, 1000)
    assert [Path(name).name for name in ids_in(tmp_path / "c.jsonl")] == [
        f"{number:04}.png" for number in range(1000)
    ]


def test_an_added_output_needs_no_model(model, photos, tmp_path):
    caption(model, photos, to=("txt",))
    result = caption(StubModel(model), photos, to=("caption",))
    assert (result.hardware, result.outcome.num_reused) == ("", 5)
    assert len(list(photos.glob("*.caption"))) == 5


def test_texts_of_others_are_kept_unless_a_policy_overrides_that(model, photos):
    text = photos / "photo000000.txt"
    text.write_bytes(b"mine\r\n")
    caption(model, photos, to=("txt",))
    assert text.read_bytes() == b"mine\r\n"
    with pytest.raises(OutputError, match=r"photo000000\.txt has a caption already"):
        caption(model, photos, to=("txt",), existing="error")
    caption(model, photos, to=("txt",), existing="append")
    new = caption_of(photo(0)).encode()
    assert text.read_bytes() == b"mine\r\n" + new + b"\r\n"
    caption(model, photos, to=("txt",), existing="append")
    assert text.read_bytes() == b"mine\r\n" + new + b"\r\n"
    caption(model, photos, to=("txt",), existing="overwrite")
    assert text.read_bytes() == new + b"\n"


def test_empty_texts_do_not_count(model, photos):
    (photos / "photo000000.txt").write_bytes(b"\xef\xbb\xbf \r\n")
    assert caption(model, photos, to=("txt",)).outcome.num_done == 5


def test_a_file_edited_during_the_run_is_kept_and_listed(model, photos, monkeypatch):
    text = photos / "photo000003.txt"
    settled = StubModel.load

    def load(self, num_images, **words):
        text.write_text("mine")
        return settled(self, num_images, **words)

    monkeypatch.setattr(StubModel, "load", load)
    result = caption(model, photos, to=("txt",), existing="overwrite")
    assert text.read_text() == "mine"
    assert (result.outcome.num_done, result.outcome.num_skipped) == (4, 1)
    assert len(result.outcome.kept) == 1
    assert "photo000003" in result.outcome.kept[0]


def test_two_images_for_one_file_are_refused_before_anything_is_written(model, photos):
    photo(9).save(photos / "photo000000.webp")
    stub = StubModel(model)
    with pytest.raises(OutputError, match="would share the file") as caught:
        caption(stub, photos, to=("txt",))
    assert "--sidecar-name full" in caught.value.fix
    assert not list(photos.glob("*.txt"))
    assert stub.num_loads == 0
    caption(stub, photos, to=("txt",), naming="full")
    assert len(list(photos.glob("*.txt"))) == 6


@pytest.mark.parametrize("named", [".", "./", "../photos/"])
def test_they_are_refused_however_the_folder_is_named(model, photos, monkeypatch, named):
    photo(9).save(photos / "photo000000.webp")
    monkeypatch.chdir(photos)
    with pytest.raises(OutputError, match="would share the file"):
        caption(model, named, to=("txt",))
    assert not list(photos.glob("*.txt"))


def test_any_file_may_be_overwritten_with_captions_and_is_restored(model, photos, tmp_path):
    out = tmp_path / "c.jsonl"
    out.write_text("not captions\n")
    result = caption(model, photos, out=out, existing="overwrite")
    assert len(out.read_text().splitlines()) == 5
    undo_run(result.run_id)
    assert out.read_text() == "not captions\n"


def test_only_one_of_the_named_images_that_share_a_text_file_is_captioned(model, photos):
    photo(9).save(photos / "photo000000.webp")
    names = [photos / "photo000000.png", photos / "photo000000.webp"]
    result = caption(model, *names, to=("txt",))
    assert [(name, e.what) for name, e in result.outcome.failures] == [
        (str(names[1]), "name_collision")
    ]
    assert (photos / "photo000000.txt").read_text() == caption_of(photo(0)) + "\n"


def test_names_that_differ_in_their_letter_case_collide_where_that_is_ignored(model, photos):
    # As on a file system that ignores case, `photo000000.png` has a second name.
    with suppress(FileExistsError):
        (photos / "PHOTO000000.PNG").hardlink_to(photos / "photo000000.png")
    other = photos / "Photo000000.webp"
    photo(9).save(other)
    names = [other, photos / "photo000000.png"]
    result = caption(model, *names, to=("txt",))
    assert [(name, e.what) for name, e in result.outcome.failures] == [
        (str(names[1]), "name_collision")
    ]
    assert {path.name for path in photos.glob("*.txt")} == {"Photo000000.txt"}


@pytest.mark.parametrize("fault", ["error", "assertion"])
def test_one_image_that_breaks_the_model_costs_one_image(model, photos, fault):
    poison(fault).save(photos / "photo000002b.png")
    result = caption(model, photos, to=("txt",))
    assert (result.outcome.num_done, result.outcome.num_failed) == (5, 1)
    ((name, error),) = result.outcome.failures
    assert (Path(name).name, error.what) == ("photo000002b.png", "model_error")
    assert "a kernel of the stub failed" in error.where


def test_captions_that_repeat_words_are_written_flagged_and_counted(model, photos, tmp_path):
    poison("repetition").save(photos / "loop.png")
    out = tmp_path / "c.jsonl"
    outcome = caption(model, photos, to=("jsonl",), out=out).outcome
    assert (outcome.num_repetitive, outcome.num_done, outcome.num_failed) == (1, 6, 0)
    rows = {
        Path(row["image_id"]).name: row for row in map(json.loads, out.read_text().splitlines())
    }
    assert rows["loop.png"]["flags"] == ["repetition"]
    wording = Wording(clean=("repeat",))
    caption(model, photos, to=("txt",), wording=wording)
    assert (photos / "loop.txt").read_text() == "a dog\n"


def test_a_model_that_fails_on_every_image_is_an_error(model, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for number in range(20):
        poison("error").resize((8 + number, 8)).save(folder / f"{number}.png")
    with pytest.raises(RuntimeError, match="a kernel of the stub failed"):
        caption(model, folder, to=("txt",))


def test_running_out_of_memory_halves_the_batch(model, photos):
    set_behaviour(model, Behaviour(fits=2))
    with pytest.warns(UserWarning, match="do not fit in the memory"):
        assert caption(model, photos, to=("txt",)).outcome.num_done == 5


def test_failures_are_listed_counted_and_tried_again_on_request(model, photos, tmp_path):
    (photos / "empty.jpg").write_bytes(b"")
    poison("empty").save(photos / "silent.png")
    result = caption(model, photos, to=("txt",))
    assert (result.outcome.num_found, result.outcome.num_done, result.outcome.num_failed) == (
        7,
        5,
        2,
    )
    listed = [json.loads(line) for line in Path(result.failures_path).read_text().splitlines()]
    assert {Path(row["image_id"]).name: row["code"] for row in listed} == {
        "empty.jpg": "empty",
        "silent.png": "empty_caption",
    }
    again = StubModel(model)
    assert caption(again, photos, to=("txt",)).outcome.num_failed == 2
    assert again.num_loads == 0
    photo(7).save(photos / "silent.png")
    assert caption(again, photos, to=("txt",)).outcome.num_done == 1
    caption(again, photos, to=("txt",), feed=FeedSettings(retry_failed=True))
    assert again.num_loads == 2


def test_broken_images_with_the_same_content_are_each_named_in_their_failure(model, photos):
    for name in ("empty.jpg", "empty-copy.jpg"):
        (photos / name).write_bytes(b"")
    result = caption(model, photos, to=("txt",))
    listed = [json.loads(line) for line in Path(result.failures_path).read_text().splitlines()]
    assert len(listed) == 2
    assert all(row["reason"].startswith(f"{row['image_id']}: ") for row in listed)


def test_a_limit_stops_after_that_many_images_and_the_next_run_continues(model, photos, tmp_path):
    limited = FeedSettings(limit=2)
    assert caption(model, photos, to=("txt",), feed=limited).outcome.num_done == 2
    assert caption(model, photos, to=("txt",)).outcome.num_done == 3


def test_a_caption_written_by_hand_takes_an_image_off_the_list_of_failures(model, photos):
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(b"")
    failed = Path(caption(model, photos, to=("txt",)).failures_path)
    assert [Path(name).name for name in ids_in(failed)] == ["a.png", "b.png"]
    (photos / "a.txt").write_text("my own words")
    caption(model, photos, to=("txt",))
    assert [Path(name).name for name in ids_in(failed)] == ["b.png"]
    (photos / "b.txt").write_text("my own words")
    assert caption(model, photos, to=("txt",)).outcome.num_skipped == 7
    assert not failed.exists()


def test_images_that_are_known_to_fail_do_not_use_up_the_limit(model, photos):
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(b"")
    limited = FeedSettings(limit=2)
    runs = [caption(model, photos, to=("txt",), feed=limited).outcome for _ in range(3)]
    assert [(run.num_done, run.num_failed) for run in runs] == [(0, 2), (2, 2), (2, 2)]
    retried = FeedSettings(limit=2, retry_failed=True)
    assert caption(model, photos, to=("txt",), feed=retried).outcome.num_done == 0


@pytest.mark.parametrize("to", ["txt", "jsonl"])
@pytest.mark.parametrize("existing", ["overwrite", "append"])
def test_a_dry_run_after_a_finished_run_counts_what_the_policy_writes_again(
    model, photos, tmp_path, to, existing
):
    if (to, existing) == ("jsonl", "append"):
        pytest.skip("a row per image, to which nothing is added")
    out = tmp_path / "c.jsonl" if to == "jsonl" else None
    caption(model, photos, to=(to,), out=out)
    given = {"to": (to,), "out": out, "existing": existing, "wording": Wording(prefix="x ")}
    shown = preview_run(
        StubModel(model),
        find_items((str(photos),)),
        inputs=(str(photos),),
        settings=BulkSettings(**given, decode="inline"),
    )
    assert shown.num_waiting == caption(model, photos, **given).outcome.num_done == 5


@pytest.mark.parametrize("to", ["txt", "jsonl"])
def test_another_model_or_decoding_or_wording_is_refused_unless_a_policy_decides(
    model, photos, tmp_path, to
):
    settings = {"to": (to,), "out": tmp_path / "c.jsonl" if to == "jsonl" else None}
    caption(model, photos, **settings)
    other = write_stub(tmp_path / "other", seed=1)
    photo(6).save(photos / "new.png")
    with pytest.raises(OutputError, match=r"model: .*model -> .*other"):
        caption(other, photos, **settings)
    with pytest.raises(OutputError, match=r"prefix:  -> x"):
        caption(model, photos, **settings, wording=Wording(prefix="x"))
    assert caption(other, photos, **settings, existing="skip").outcome.num_done == 1
    assert caption(other, photos, **settings, existing="overwrite").outcome.num_done == 6


def test_a_second_run_on_the_same_output_is_refused_and_its_holder_named(
    model, photos, monkeypatch
):
    settled = StubModel.load

    def load(self, num_images, **words):
        with pytest.raises(OutputError, match=r"photos.* is in use by process \d+ on "):
            caption(model, photos, to=("txt",))
        sub = photos / "sub"
        sub.mkdir(exist_ok=True)
        photo(8).save(sub / "a.png")
        with pytest.raises(OutputError, match=r"is in use by process"):
            caption(model, sub, to=("txt",))
        return settled(self, num_images, **words)

    monkeypatch.setattr(StubModel, "load", load)
    assert caption(model, photos, to=("txt",)).outcome.num_done == 5


def test_the_unfinished_captions_of_captune_0_1_are_continued(model, photos, tmp_path):
    out = tmp_path / "c.jsonl"
    made_by = {**StubModel(model).made_by(), "decoding": {"num_beams": 3}}
    first = str(photos / "photo000000.png")
    old = [{"made_by": made_by, "force": False}, {"image_id": first, "caption": "old"}]
    text = "".join(json.dumps(row) + "\n" for row in old) + '{"image_id": "half'
    Path(f"{out}.part").write_text(text)
    caption(model, photos, out=out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert (rows[0]["image_id"], rows[0]["caption"], len(rows)) == (first, "old", 5)
    assert not Path(f"{out}.part").exists()


def test_rows_of_an_unknown_model_are_not_added_to(model, photos, tmp_path):
    out = tmp_path / "c.jsonl"
    out.write_text('{"image_id": "other.jpg", "caption": "mine"}\n')
    with pytest.raises(OutputError, match="has no record of the model and decoding"):
        caption(model, photos, out=out)
    assert out.read_text().count("\n") == 1
    caption(model, photos, out=out, existing="skip")
    assert out.read_text().count("\n") == 6


def test_shares_of_a_run_divide_the_images(model, photos, tmp_path):
    from captune.bulk import read_share

    out = tmp_path / "c.jsonl"
    parts = []
    for number in (1, 2, 3):
        caption(model, photos, out=out, feed=FeedSettings(share=read_share(f"{number}/3")))
        parts += ids_in(tmp_path / f"c-{number:05}-of-00003.jsonl")
    assert sorted(parts) == sorted(map(str, photos.iterdir()))


def test_a_preview_lists_an_image_whose_caption_is_cleaned_away_as_the_run_does(
    model, photos, monkeypatch
):
    monkeypatch.setattr("captune.bulk.wording.trim_repeats", lambda _text: " ")
    wording = Wording(clean=("repeat",))
    shown = preview_run(
        StubModel(model),
        find_items((str(photos),)),
        inputs=(str(photos),),
        settings=BulkSettings(to=("txt",), wording=wording, decode="inline"),
        num_captions=2,
    )
    assert [(one.caption, one.error and one.error.what) for one in shown.captions] == [
        ("", "empty_caption"),
        ("", "empty_caption"),
    ]
    outcome = caption(model, photos, to=("txt",), wording=wording).outcome
    assert {error.what for _, error in outcome.failures} == {"empty_caption"}
