"""Undo restores the earlier bytes and keeps what was edited since."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from captune.bulk import Outcome, Surroundings, undo_cost, undo_run
from captune.bulk.formats.tar_shards import TarShards
from captune.errors import OutputError
from captune.storage import lock_file
from support.bulk.hostile_images import photo, write_photos
from support.bulk.kills import read_tree
from support.bulk.library import caption

OWN = (".captune", "model", "cache")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, path in enumerate(write_photos(tmp_path / "photos", 6)):
        if number % 2:
            path.with_suffix(".txt").write_bytes(b"caf\xe9\r\n\r\n" * number)
    return tmp_path / "photos"


@pytest.mark.parametrize("existing", ["skip", "overwrite", "append", "prepend"])
@pytest.mark.parametrize("to", ["txt", "xmp", "metadata"])
def test_every_byte_is_restored(model, photos, existing, to):
    before = read_tree(photos)
    result = caption(model, photos, to=(to,), existing=existing)
    assert read_tree(photos) != before
    undone = undo_run(result.run_id)
    assert (undone.num_restored, undone.kept) == (result.outcome.num_done, [])
    assert read_tree(photos) == before
    with pytest.raises(OutputError, match="was undone before"):
        undo_run(result.run_id)


def test_files_edited_since_are_kept_and_listed(model, photos):
    caption(model, photos, to=("txt",), existing="overwrite")
    edited = photos / "photo000001.txt"
    edited.write_text("my own words")
    (photos / "photo000002.txt").unlink()
    undone = undo_run(str(photos))
    assert edited.read_text() == "my own words"
    assert undone.kept == [str(edited)]
    assert (photos / "photo000003.txt").read_bytes() == b"caf\xe9\r\n\r\n" * 3
    assert not (photos / "photo000002.txt").exists()


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_collected_file_is_restored(model, photos, tmp_path, ending):
    out = tmp_path / f"c.{ending}"
    first = caption(model, photos / "photo000000.png", out=out)
    before = out.read_bytes()
    second = caption(model, photos, out=out)
    assert out.read_bytes() != before
    undo_run(second.run_id)
    assert out.read_bytes() == before
    undo_run(str(out))
    assert not out.exists()
    assert first.run_id != second.run_id


def test_a_file_that_one_run_has_completed_twice_is_undone(model, photos, tmp_path, monkeypatch):
    before = read_tree(tmp_path, without=OWN)
    replace = Path.replace

    def refuse(path: Path, target: Path) -> None:
        if target.suffix == ".csv":
            raise OSError(28, "No space left on device")
        replace(path, target)

    with monkeypatch.context() as full, pytest.raises(OutputError, match="No space left"):
        full.setattr(Path, "replace", refuse)
        caption(model, photos / "photo000000.png", to=("jsonl", "csv"), out=tmp_path / "out")
    caption(model, photos, to=("jsonl", "csv"), out=tmp_path / "out")
    undone = undo_run(str(tmp_path / "out"))
    assert (undone.num_restored, undone.kept) == (2, [])
    assert read_tree(tmp_path, without=OWN) == before


def test_shards_are_deleted_except_those_edited_since(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "shards"
    monkeypatch.setattr(TarShards.__init__, "__kwdefaults__", {"shard_images": 2})
    first = caption(model, photos / "photo000000.png", to=("webdataset",), out=out)
    second = caption(model, photos, to=("webdataset",), out=out)
    shards = sorted(out.glob("*.tar"))
    edited = shards[-1]
    edited.write_bytes(edited.read_bytes() + b"more")
    undone = undo_run(second.run_id)
    assert undone.kept == [str(edited)]
    assert sorted(out.glob("*")) == [shards[0], edited]
    assert undone.num_restored == len(shards) - 2
    edited.unlink()
    assert undo_run(first.run_id).kept == []
    assert not out.exists()


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "webdataset"])
def test_the_rows_of_a_stopped_run_are_deleted(model, photos, tmp_path, form, monkeypatch):
    monkeypatch.setattr(TarShards.__init__, "__kwdefaults__", {"shard_images": 2})
    out = tmp_path / ("shards" if form == "webdataset" else f"c.{form}")
    before = read_tree(tmp_path, without=OWN)

    def stop(outcome: Outcome) -> None:
        if outcome.num_generated == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        around = Surroundings(on_progress=stop)
        caption(model, photos, to=(form,), out=out, around=around, batch_size=1)
    assert read_tree(tmp_path, without=OWN) != before
    undone = undo_run(str(out))
    assert (undone.num_restored, undone.kept) == (1, [])
    assert read_tree(tmp_path, without=OWN) == before
    again = caption(model, photos, to=(form,), out=out)
    assert again.outcome.num_done == 6


def test_an_undo_killed_after_its_last_rename_is_completed(model, photos, tmp_path):
    out = tmp_path / "c.jsonl"
    caption(model, photos / "photo000000.png", out=out)
    before = out.read_bytes()
    second = caption(model, photos, out=out)
    (kept,) = (tmp_path / ".captune" / "replaced").glob("*/c.jsonl")
    # As after a kill between the rename and the deletion of the kept file.
    out.write_bytes(kept.read_bytes())
    undone = undo_run(second.run_id)
    assert (undone.num_restored, undone.kept, out.read_bytes()) == (1, [], before)
    assert not kept.exists()


def test_a_later_run_on_the_same_files_is_undone_first(model, photos):
    first = caption(model, photos, to=("txt",), existing="append")
    photo(3).save(photos / "photo000001.png")
    second = caption(model, photos, to=("txt",), existing="overwrite")
    with pytest.raises(OutputError, match=rf"the run {second.run_id} changed files of"):
        undo_run(first.run_id)
    undo_run(second.run_id)
    undo_run(first.run_id)


def test_an_undone_run_can_be_repeated_without_the_model(model, photos):
    caption(model, photos, to=("txt",))
    written = read_tree(photos)
    undo_run(str(photos))
    again = caption(model, photos, to=("txt",))
    assert (again.hardware, read_tree(photos)) == ("", written)


def test_the_cost_of_undo_is_the_replaced_bytes(model, photos, tmp_path):
    result = caption(model, photos, to=("txt",), existing="overwrite")
    texts = sum(len(b"caf\xe9\r\n\r\n" * number) for number in (1, 3, 5))
    # One byte per file marks whether it existed.
    assert undo_cost(result.run_id) == (6, texts + 6)


def test_a_folder_without_a_run_is_named(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="there is no journal of a bulk run"):
        undo_run(str(tmp_path))
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path))
    note = tmp_path / "bulk-runs" / "20200101-000000-abcd.json"
    note.parent.mkdir()
    for content in ("", "{}", '{"journal": 7}', '{"journal": null}'):
        note.write_text(content)
        with pytest.raises(OutputError, match="no journal of the run 20200101-000000-abcd is kn"):
            undo_run("20200101-000000-abcd")


def test_the_runs_of_several_journals_are_listed(model, photos, tmp_path):
    texts = caption(model, photos, to=("txt",))
    shards = caption(model, photos, to=("webdataset",), out=photos)
    with pytest.raises(OutputError, match="holds the journals of several outputs") as caught:
        undo_run(str(photos))
    assert caught.value.fix == (
        f"name a run: captune undo {texts.run_id}, captune undo {shards.run_id}"
    )
    undo_run(shards.run_id)
    undo_run(texts.run_id)


def test_a_file_in_place_of_the_journals_folder_is_named(model, photos):
    (photos / ".captune").write_text("mine")
    with pytest.raises(OutputError, match=r"photos/\.captune is a file"):
        caption(model, photos, to=("txt",))


def test_a_run_on_a_relative_path_is_undone_from_another_folder(
    model, photos, tmp_path, monkeypatch
):
    before = read_tree(photos)
    monkeypatch.chdir(photos.parent)
    result = caption(model, photos.name, to=("txt",), existing="append")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    undone = undo_run(result.run_id)
    assert (undone.num_restored, undone.kept, read_tree(photos)) == (6, [], before)


@pytest.mark.parametrize("held", ["", "inner", "inner/deep"])
def test_an_undo_waits_for_a_run_on_its_images_wherever_the_journal_is(
    model, photos, tmp_path, held
):
    write_photos(photos / "inner" / "deep", 2)
    write_photos(photos / "other", 2)
    out = tmp_path / "elsewhere" / "o.jsonl"
    result = caption(model, photos, to=("txt", "jsonl"), out=out)
    with (
        lock_file(photos / held / "bulk"),
        pytest.raises(OutputError, match="is in use by"),
    ):
        undo_run(result.run_id)
    assert len(undo_run(result.run_id).kept) == 0


def test_no_run_begins_on_images_that_an_undo_restores(model, photos, tmp_path, monkeypatch):
    write_photos(photos / "inner", 2)
    out = tmp_path / "elsewhere" / "o.jsonl"
    result = caption(model, photos, to=("txt", "jsonl"), out=out)
    refused = []

    def run_meanwhile(*_arguments):
        for folder in (photos, photos / "inner", tmp_path):
            with pytest.raises(OutputError, match="is in use by"):
                caption(model, folder, to=("txt",))
            refused.append(folder)
        raise OutputError("enough")

    monkeypatch.setattr("captune.bulk.undo._restore_changes", run_meanwhile)
    with pytest.raises(OutputError, match="enough"):
        undo_run(result.run_id)
    assert len(refused) == 3


def test_a_run_that_wrote_nothing_does_not_hide_the_one_before(model, photos, tmp_path):
    before = read_tree(photos)
    (photos / "broken.png").write_bytes(b"")
    caption(model, photos, to=("txt", "jsonl"), out=tmp_path / "out")
    # It only lists the broken image again.
    caption(model, photos, to=("txt", "jsonl"), out=tmp_path / "out")
    undo_run(str(tmp_path / "out"))
    (photos / "broken.png").unlink()
    assert read_tree(photos) == before


def test_a_folder_deleted_since_does_not_stop_the_undo(model, photos):
    write_photos(photos / "sub", 2)
    before = read_tree(photos, without=(*OWN, "sub"))
    result = caption(model, photos, to=("txt",), existing="append")
    shutil.rmtree(photos / "sub")
    undone = undo_run(result.run_id)
    assert (undone.num_restored, undone.kept, undone.absent) == (8, [], [])
    assert read_tree(photos) == before


def test_files_on_a_disk_that_is_not_connected_are_undone_once_it_is(model, photos, tmp_path):
    before = read_tree(photos)
    out = tmp_path / "elsewhere" / "c.jsonl"
    result = caption(model, photos, to=("txt", "jsonl"), out=out)
    away = photos.rename(tmp_path / "away")
    undone = undo_run(result.run_id)
    assert (undone.absent, undone.kept) == ([str(photos)], [])
    away.rename(photos)
    undone = undo_run(result.run_id)
    assert (undone.absent, undone.kept, read_tree(photos)) == ([], [], before)


@pytest.mark.parametrize("to", ["txt", "metadata", "jsonl", "webdataset"])
def test_a_library_that_was_moved_is_undone_where_it_is_now(model, photos, to, monkeypatch):
    before = read_tree(photos)
    place = {"jsonl": "c.jsonl", "webdataset": "shards"}.get(to)
    out = None if place is None else photos / place
    caption(model, photos, to=(to,), out=out, existing="overwrite" if out is None else None)
    moved = photos.rename(photos.parent / "moved")
    undone = undo_run(str(moved if place is None else moved / place))
    assert (undone.kept, undone.absent) == ([], [])
    assert read_tree(moved) == before


def test_undoing_a_copy_of_a_library_leaves_the_original(model, photos, tmp_path):
    before = read_tree(photos)
    caption(model, photos, to=("txt",), existing="append")
    written = read_tree(photos)
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    undo_run(str(copy))
    assert (read_tree(copy), read_tree(photos)) == (before, written)


def test_a_later_run_that_replaced_the_same_file_is_undone_first(model, photos, tmp_path):
    out = tmp_path / "c.jsonl"
    first = caption(model, photos / "photo000000.png", out=out)
    second = caption(model, photos, out=out)
    with pytest.raises(OutputError, match=rf"the run {second.run_id} changed files of"):
        undo_run(first.run_id)
    undo_run(second.run_id)
    undo_run(first.run_id)
    assert not out.exists()


def test_a_text_that_cannot_be_deleted_is_named_and_the_undo_resumes(model, photos, monkeypatch):
    before = read_tree(photos)
    result = caption(model, photos, to=("txt",))
    unlink = Path.unlink

    def refuse(path: Path, **options: bool) -> None:
        if path.name == "photo000002.txt":
            raise PermissionError(13, "Permission denied")
        unlink(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError, match=r"cannot write .*photo000002\.txt"):
            undo_run(result.run_id)
    undo_run(result.run_id)
    assert read_tree(photos) == before
