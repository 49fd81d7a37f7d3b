"""Captions in object storage: copied when complete, and never over what others changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from captune.bulk import (
    BulkSettings,
    Surroundings,
    choose_outputs,
    find_items,
    merge_shares,
    preview_run,
    undo_run,
)
from captune.bulk.formats.tar_shards import TarShards
from captune.errors import OutputError
from captune.net import StoredFile
from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import StubModel, caption
from support.object_storage import BUCKET, google_storage, object_storage

for package in ("moto", "flask", "s3fs", "gcsfs", "gcp_storage_emulator"):
    pytest.importorskip(package, reason="needs the extras s3, gs and dev")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["s3", "gs"])
def storage(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    """The bucket's URL, and fsspec's file system."""
    if request.param == "gs":
        with google_storage() as store:
            yield f"gs://{BUCKET}", store
        return
    import fsspec

    with object_storage():
        yield f"s3://{BUCKET}", fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", 6)
    return tmp_path / "photos"


def names(url: str, store: Any) -> list[str]:
    rows = map(json.loads, store.cat_file(url).decode().splitlines())
    return sorted(Path(row["image_id"]).stem for row in rows)


def test_captions_are_added_to_an_object_and_undone(model, photos, storage, tmp_path):
    bucket, store = storage
    url = f"{bucket}/added/c.jsonl"
    first = caption(model, photos / "photo000000.png", out=Path(url))
    assert names(url, store) == ["photo000000"]
    second = caption(model, photos, out=Path(url))
    assert len(names(url, store)) == 6
    assert second.outcome.num_skipped == 1
    assert caption(model, photos, out=Path(url)).hardware == ""
    undo_run(url)
    assert names(url, store) == ["photo000000"]
    undo_run(first.run_id)
    assert not store.exists(url)
    assert not list(Path().glob("s3:*")) + list(Path().glob("gs:*"))


def test_another_machine_fetches_the_object_first(model, photos, storage, tmp_path, monkeypatch):
    bucket, store = storage
    url = f"{bucket}/machines/c.csv"
    caption(model, photos / "photo000000.png", out=Path(url))
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "another"))
    result = caption(model, photos, out=Path(url), existing="skip")
    assert (result.outcome.num_done, result.outcome.num_skipped) == (5, 1)
    assert store.cat_file(url).count(b"photo00000") == 6
    # The first machine sees them too.
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    assert caption(model, photos, out=Path(url), existing="skip").outcome.num_skipped == 6


def test_a_change_by_others_during_a_run_is_not_overwritten(model, photos, storage):
    bucket, store = storage
    url = f"{bucket}/changed/c.jsonl"
    caption(model, photos / "photo000000.png", out=Path(url))
    around = Surroundings(on_progress=lambda _outcome: store.pipe_file(url, b"by others"))
    with pytest.raises(OutputError, match="was changed by others") as caught:
        caption(model, photos, out=Path(url), around=around)
    assert store.cat_file(url) == b"by others"
    local = Path(caught.value.what.rpartition(" as ")[2])
    assert len(local.read_text().splitlines()) == 6


def test_an_undo_keeps_and_lists_an_object_that_others_changed(model, photos, storage):
    bucket, store = storage
    url = f"{bucket}/kept/c.jsonl"
    caption(model, photos / "photo000000.png", out=Path(url))
    second = caption(model, photos, out=Path(url))
    by_others = store.cat_file(url) + b'{"image_id": "theirs", "caption": "a cat"}\n'
    store.pipe_file(url, by_others)
    undone = undo_run(second.run_id)
    assert (undone.num_restored, undone.kept) == (0, [url])
    assert store.cat_file(url) == by_others
    with pytest.raises(OutputError, match="was undone before"):
        undo_run(second.run_id)
    # The next run adds to what the others wrote.
    photo(7).save(photos / "more.png")
    assert caption(model, photos, out=Path(url)).outcome.num_skipped == 6
    assert names(url, store)[-2:] == ["photo000005", "theirs"]


def test_a_copy_that_failed_is_made_by_the_next_command(model, photos, storage, monkeypatch):
    bucket, store = storage
    url = f"{bucket}/failed/c.jsonl"

    def fail(stored: StoredFile, path: Path) -> None:
        raise OutputError(f"cannot write {stored.url}: no network")

    with monkeypatch.context() as broken:
        broken.setattr(StoredFile, "upload", fail)
        with pytest.raises(OutputError, match="no network"):
            caption(model, photos, out=Path(url))
    assert not store.exists(url)
    again = caption(model, photos, out=Path(url))
    assert (again.outcome.num_generated, len(names(url, store))) == (0, 6)


def test_shards_are_copied_and_those_of_another_machine_are_kept(
    model, photos, storage, tmp_path, monkeypatch
):
    bucket, store = storage
    url = f"{bucket}/shards"
    monkeypatch.setattr(TarShards.__init__, "__kwdefaults__", {"shard_images": 4})
    result = caption(model, photos, to=("webdataset",), out=Path(url))
    assert [name.rpartition("/")[2] for name in sorted(store.ls(url, detail=False))] == [
        "000000.tar",
        "000001.tar",
    ]
    caption(model, photos, to=("webdataset",), out=Path(url))
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "another"))
    with pytest.raises(OutputError, match="was not written by this machine"):
        caption(model, photos, to=("webdataset",), out=Path(url))
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    undo_run(result.run_id)
    assert not store.exists(f"{url}/000000.tar")


def test_a_shard_that_others_deleted_is_written_again(model, photos, storage, monkeypatch):
    bucket, store = storage
    url = f"{bucket}/deleted"
    monkeypatch.setattr(TarShards.__init__, "__kwdefaults__", {"shard_images": 4})
    caption(model, photos, to=("webdataset",), out=Path(url))
    store.rm_file(f"{url}/000001.tar")
    again = caption(model, photos, to=("webdataset",), out=Path(url)).outcome
    assert (again.num_done, again.num_generated, again.num_skipped) == (2, 0, 4)
    assert store.exists(f"{url}/000001.tar")


def test_several_formats_and_shares_have_names_of_their_own(model, photos, storage):
    bucket, store = storage
    caption(model, photos, to=("jsonl", "csv"), out=Path(f"{bucket}/two"))
    assert store.exists(f"{bucket}/two/captions.jsonl")
    assert store.exists(f"{bucket}/two/captions.csv")


def test_a_preview_names_the_url_and_writes_nothing(model, photos, storage):
    bucket, store = storage
    settings = BulkSettings(to=("jsonl",), out=Path(f"{bucket}/preview/c.jsonl"), decode="inline")
    found = find_items([str(photos)])
    shown = preview_run(StubModel(model), found, inputs=(str(photos),), settings=settings)
    assert (shown.num_waiting, shown.collected) == (6, (f"{bucket}/preview/c.jsonl",))
    assert not store.exists(f"{bucket}/preview")


def test_a_bucket_that_does_not_exist_is_an_error_before_the_model_loads(model, photos, storage):
    scheme = storage[0].partition(":")[0]
    with pytest.raises(OutputError, match=rf"cannot write {scheme}://no-such-bucket/c.jsonl"):
        caption(model, photos, out=Path(f"{scheme}://no-such-bucket/c.jsonl"))


def test_a_bucket_alone_and_a_merge_in_object_storage_are_refused(storage, tmp_path):
    scheme = storage[0].partition(":")[0]
    with pytest.raises(OutputError, match=rf"{scheme}://photos is a bucket"):
        choose_outputs(BulkSettings(to=("webdataset",), out=Path(f"{scheme}://photos/")))
    with pytest.raises(OutputError, match="in object storage cannot be joined"):
        merge_shares(Path(f"{scheme}://photos/all.jsonl"), [tmp_path / "a.jsonl"])
