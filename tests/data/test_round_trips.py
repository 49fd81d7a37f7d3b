"""Data sets written in every format and read back."""

from __future__ import annotations

import json

import pytest

from captune.data import LoadOptions, load_records, read_source, write_dataset

FORMATS = ("jsonl", "csv", "coco", "imagefolder", "sidecar", "webdataset", "parquet")


@pytest.fixture
def source(tmp_path, draw_image):
    folder = tmp_path / "in"
    lines = []
    for number, split in enumerate(("train", "train", "val", "test")):
        draw_image(folder / f"{number}.png", (number, 0, 0))
        lines.append(
            {
                "image": f"{number}.png",
                "captions": [f'Caption {number}, "one"', f"Café {number}"],
                "image_id": str(number + 10),
                "split": split,
                "group": f"g{number // 2}",
                "quality": "good" if number != 1 else "bad",
                "width": 24,
                "tags": ["a", "b"],
            }
        )
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def facts_of(data, *, has_ids=True):
    return sorted(
        (
            record.image_id if has_ids else "",
            record.captions,
            record.split,
            record.group if has_ids else None,
            read_source(record.image),
        )
        for record in data.records
    )


@pytest.mark.parametrize("format", FORMATS)
def test_a_written_data_set_reads_back_the_same(tmp_path, source, format):
    before = load_records(source, LoadOptions(keep_columns=True))
    out = tmp_path / "out"
    skipped = write_dataset(before.records, out, format=format, columns=before.columns)
    assert skipped == []
    after = load_records(out)
    assert after.format == ("table" if format == "csv" else format)
    has_ids = format != "sidecar"
    assert facts_of(after, has_ids=has_ids) == facts_of(before, has_ids=has_ids)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "sidecar"])
@pytest.mark.parametrize(("column", "value", "kept"), [("quality", "bad", 1), ("width", "24", 4)])
def test_columns_can_be_filtered_by_after_a_conversion(
    tmp_path, source, format, column, value, kept
):
    before = load_records(source, LoadOptions(keep_columns=True))
    out = tmp_path / "out"
    write_dataset(before.records, out, format=format, columns=before.columns)
    filters = {column: (value,)}
    assert len(load_records(out, LoadOptions(filters=filters, limit=9)).records) == kept


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_an_image_that_cannot_be_read_is_listed(tmp_path, source, format):
    before = load_records(source)
    before.records[0].image.unlink()
    skipped = write_dataset(before.records, tmp_path / "out", format=format)
    assert [(image.image_id, image.reason) for image in skipped] == [("10", "missing")]
    assert len(load_records(tmp_path / "out").records) == 3


def test_columns_are_kept_only_on_request(source):
    assert load_records(source).columns == {}


def test_an_id_that_is_another_images_number_loses_no_image_in_shards(tmp_path, draw_image):
    for number, name in enumerate(("000000001", "my photo")):
        draw_image(tmp_path / "in" / f"{name}.png", (number, 0, 0))
    lines = [
        {"image": f"{name}.png", "image_id": name, "caption": f"Caption {name}"}
        for name in ("000000001", "my photo")
    ]
    (tmp_path / "in" / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    before = load_records(tmp_path / "in")
    write_dataset(before.records, tmp_path / "out", format="webdataset")
    after = load_records(tmp_path / "out")
    assert facts_of(after) == facts_of(before)
    assert len(after.records) == 2
    assert after.skipped == ()
