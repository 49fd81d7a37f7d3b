"""Images in object storage: captioned as files are, resumed, and refused where no file can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from captune.errors import DataError, OutputError
from support.bulk.hostile_images import write_photos
from support.bulk.library import caption
from support.bulk.stub_captioner import write_stub
from support.object_storage import BUCKET, Storage, object_storage

for package in ("moto", "flask", "s3fs"):
    pytest.importorskip(package, reason="needs the extras s3 and dev")


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with object_storage() as started:
        yield started


def captions(file: Path) -> dict[str, str]:
    rows = map(json.loads, file.read_text().splitlines())
    return {row["image_id"].rpartition("/")[2]: row["caption"] for row in rows}


@pytest.mark.slow
def test_objects_get_the_same_captions_as_files_and_a_broken_one_is_listed(tmp_path, storage):
    model = write_stub(tmp_path / "model")
    for path in write_photos(tmp_path / "photos", 20):
        storage.put(f"same/{path.name}", path.read_bytes())
    broken = storage.put("same/broken.png", b"")
    caption(model, tmp_path / "photos", out=tmp_path / "files.jsonl")
    result = caption(model, f"s3://{BUCKET}/same/", out=tmp_path / "objects.jsonl")
    assert [(name, error.what) for name, error in result.outcome.failures] == [(broken, "empty")]
    assert captions(tmp_path / "objects.jsonl") == captions(tmp_path / "files.jsonl")
    assert len(captions(tmp_path / "objects.jsonl")) == 20
    again = caption(model, f"s3://{BUCKET}/same/", out=tmp_path / "objects.jsonl").outcome
    assert (again.num_skipped, again.num_generated, again.num_failed) == (20, 0, 1)


def test_a_list_may_name_objects_and_one_that_is_missing_is_listed(tmp_path, storage):
    from captune.bulk import SourceOptions, find_items
    from captune.errors import ImageError

    url = storage.put("listed/a.png", b"x")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{url}\n{url}\ns3://{BUCKET}/listed/gone.png\n")
    first, gone = find_items((), SourceOptions(list_from=str(listed)))
    assert (first.name, first.image.read()) == (url, b"x")
    with pytest.raises(ImageError, match="missing"):
        gone.image.read()


def test_files_beside_objects_and_archives_are_refused(tmp_path, storage):
    model = write_stub(tmp_path / "model")
    place = f"s3://{BUCKET}/refused/"
    storage.put("refused/a.png", b"x")
    with pytest.raises(OutputError, match=r"--to txt needs image files on disk, not a URL"):
        caption(model, place, to=("txt",))
    with pytest.raises(DataError, match="is an archive or a table"):
        caption(model, f"s3://{BUCKET}/shard.tar", out=tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("*.jsonl"))
