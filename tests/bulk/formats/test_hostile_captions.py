"""Captions that would steer a reader, in every form of output: text comes out, nothing else."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from captune.bulk import BulkResult, BulkSettings, Surroundings, find_items, run_bulk
from captune.bulk.formats import (
    COLLECTED_NAMES,
    PER_IMAGE_NAMES,
    CollectedName,
    PerImageName,
    open_collected,
    open_per_image,
)
from captune.bulk.items import CaptionedItem, Item
from captune.bulk.metadata import read_embedded, read_sidecar
from captune.records import Prediction
from support.bulk.hostile_images import photo, write_photos
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import write_stub
from support.metadata_images import encoded

HOSTILE = '=HYPERLINK("http://x") <script>&amp;</script> ]]> \u202eevil \x1b[31m "q"'


def text_of(name: PerImageName, content: bytes) -> str:
    read = {"xmp": read_sidecar, "metadata": read_embedded}.get(name)
    return content.decode().removesuffix("\n") if read is None else str(read(content).description)


@pytest.mark.parametrize("name", PER_IMAGE_NAMES)
def test_a_file_per_image_holds_the_text(name: PerImageName) -> None:
    earlier = encoded("jpeg") if name == "metadata" else None
    change = open_per_image(name).change(earlier, HOSTILE, existing="overwrite")
    # XML has no escape character.
    expected = HOSTILE.replace("\x1b", "") if name in ("xmp", "metadata") else HOSTILE
    assert text_of(name, change.new) == expected


@pytest.mark.parametrize("name", PER_IMAGE_NAMES)
def test_a_lone_surrogate_or_a_null_byte_breaks_no_file(name: PerImageName) -> None:
    earlier = encoded("jpeg") if name == "metadata" else None
    change = open_per_image(name).change(earlier, "a\ud800 dog", existing="overwrite")
    assert text_of(name, change.new) in ("a? dog", "a dog")


@pytest.mark.parametrize("name", COLLECTED_NAMES)
def test_a_collected_output_holds_the_text(name: CollectedName, tmp_path: Path) -> None:
    path = tmp_path / "out"
    form = open_collected(name, path)
    form.resume(None, keep_earlier=True)
    item = Item("a.jpg", encoded("jpeg"))
    form.add([CaptionedItem(item, Prediction("a.jpg", HOSTILE, -0.5, 3, "eos", ()))])
    form.finish()
    if name == "webdataset":
        with tarfile.open(path / "000000.tar") as archive:
            member = archive.extractfile("000000000.txt")
            assert member is not None
            assert member.read().decode() == HOSTILE
    elif name == "parquet":
        assert pq.read_table(path)["caption"].to_pylist() == [HOSTILE]
    elif name == "jsonl":
        assert json.loads(path.read_text())["caption"] == HOSTILE
    else:
        (row,) = csv.DictReader(path.read_text(encoding="utf-8").splitlines(keepends=True))
        assert row["caption"] == f"'{HOSTILE}"


def test_an_image_that_vanishes_before_it_is_packed_is_listed(tmp_path: Path) -> None:
    model = write_stub(tmp_path / "model")
    first, *_ = write_photos(tmp_path / "photos", 4)
    inputs, result = (str(tmp_path / "photos"),), BulkResult()
    run_bulk(
        StubModel(model),
        find_items(inputs),
        inputs=inputs,
        settings=BulkSettings(decode="inline", to=("webdataset",), out=tmp_path / "out"),
        result=result,
        # Called once the caption is handed on, and before its group is written.
        surroundings=Surroundings(on_progress=lambda _: first.unlink(missing_ok=True)),
    )
    outcome = result.outcome
    assert (outcome.num_found, outcome.num_done, outcome.num_failed) == (4, 3, 1)
    assert [(name, error.what) for name, error in outcome.failures] == [(str(first), "io")]
    # The journal remembers it: a run that is killed now still lists it when it resumes.
    caption(model, tmp_path / "photos", to=("webdataset",), out=tmp_path / "out")
    (listed,) = map(json.loads, Path(result.failures_path).read_text().splitlines())
    assert listed["image_id"] == str(first)
    assert listed["reason"] == "it could not be read again for its shard"
    photo(0).save(first)
    again = caption(model, tmp_path / "photos", to=("webdataset",), out=tmp_path / "out")
    assert (again.outcome.num_done, again.outcome.num_skipped) == (1, 3)
    assert not Path(result.failures_path).exists()
