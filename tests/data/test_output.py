"""The outputs of the data package: contact sheets, converted sets, lists of skipped images."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captune.data import (
    LoadOptions,
    SkippedImage,
    contact_sheet,
    load_records,
    make_shapes,
    raise_when_too_many_bad,
    save_skipped,
    write_dataset,
)
from captune.errors import DataError, OutputError
from captune.records import CaptionRecord
from captune.storage import open_atomic, refuse_existing, write_text

# --- contact sheet ----------------------------------------------------------------------------


def test_a_contact_sheet_has_one_cell_per_image():
    sheet = contact_sheet(make_shapes(7), columns=3, cell_width=200)
    # 24 margin, 3 cells of 200 with 20 between them.
    assert sheet.width == 24 + 3 * 200 + 2 * 20 + 24
    assert contact_sheet(make_shapes(2), columns=5, cell_width=200).width == 24 + 420 + 24


def test_pictures_keep_their_shape_and_colours(tmp_path, draw_image):
    records = [CaptionRecord("a", draw_image(tmp_path / "a.png", (10, 200, 30)), ("x",))]
    pixels = np.asarray(contact_sheet(records, cell_width=200))
    assert (pixels == (10, 200, 30)).all(axis=-1).sum() == 176 * 176


def test_long_captions_make_the_cell_taller_and_never_wider():
    image = make_shapes(1)[0].image
    short = contact_sheet([CaptionRecord("a", image, ("a dog",))], cell_width=200)
    long = contact_sheet([CaptionRecord("a", image, ("a dog " * 15,))], cell_width=200)
    endless = contact_sheet([CaptionRecord("a", image, ("x" * 9000,))], cell_width=200)
    assert short.width == long.width == endless.width
    assert short.height < long.height < endless.height < short.height + 15 * 20
    right_edge = np.asarray(endless)[:, 24 + 200 - 11 : 24 + 200 - 2]
    assert (right_edge[300:-60] == 255).all()


def test_more_captions_than_shown_are_counted():
    image = make_shapes(1)[0].image
    six = [CaptionRecord("a", image, tuple("abcdef"))]
    five = [CaptionRecord("a", image, tuple("abcde"))]
    assert contact_sheet(six).height == contact_sheet(five).height + 20 + 5


def test_unreadable_images_and_odd_captions_do_not_stop_the_sheet():
    records = [
        CaptionRecord("a\n\u202e\udce9", b"not an image", ("\0 bell \a", "", "犬 \U0001f600")),
        *make_shapes(1),
    ]
    assert contact_sheet(records).width > 500


def test_nothing_to_draw_is_an_error():
    with pytest.raises(DataError, match="cannot draw 0 images"):
        contact_sheet([])


# --- conversion -------------------------------------------------------------------------------


@pytest.fixture
def records(tmp_path, draw_image, png_bytes):
    return [
        CaptionRecord("1", draw_image(tmp_path / "in" / "x" / "a.png"), ("A, b", 'C "d"'), "train"),
        CaptionRecord("2", draw_image(tmp_path / "in" / "y" / "A.png"), ("é",), "train", "g"),
        CaptionRecord("3", png_bytes(), ("F",), "val", file_name="../../out.png"),
    ]


@pytest.mark.parametrize("format", ["jsonl", "csv", "coco", "imagefolder"])
@pytest.mark.parametrize("images", ["copy", "link"])
def test_a_converted_set_reads_back_the_same(tmp_path, records, format, images):
    out = tmp_path / "out"
    assert write_dataset(records, out, format=format, images=images) == []
    data = load_records(out)
    assert data.format == {"csv": "table"}.get(format, format)
    assert data.skipped == ()
    assert [r.image_id for r in data.records] == ["1", "2", "3"] or format == "coco"
    assert [(r.captions, r.split) for r in data.records] == [(r.captions, r.split) for r in records]
    assert all(record.image.resolve().is_relative_to(out.resolve()) for record in data.records)
    assert not (tmp_path.parent / "out.png").exists()
    assert [record.group for record in data.records] == [None, "g", None]


def test_names_that_differ_only_in_letter_case_get_different_files(tmp_path, records):
    write_dataset(records[:2], tmp_path / "out", format="jsonl")
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert names == ["A-2.png", "a.png"]


def test_coco_keeps_integer_ids_and_numbers_others(tmp_path, records):
    write_dataset(records[:2], tmp_path / "a", format="coco")
    written = json.loads((tmp_path / "a" / "annotations" / "captions_train.json").read_text())
    assert [image["id"] for image in written["images"]] == [1, 2]
    assert [a["image_id"] for a in written["annotations"]] == [1, 1, 2]
    shapes = make_shapes(2)
    write_dataset(shapes, tmp_path / "b", format="coco")
    assert [r.image_id for r in load_records(tmp_path / "b").records] == ["1", "2"]


def test_coco_ids_with_equal_numbers_are_renumbered(tmp_path, records):
    twins = [replace(records[0], image_id="01"), replace(records[1], image_id="1")]
    write_dataset(twins, tmp_path / "out", format="coco")
    read = load_records(tmp_path / "out").records
    assert [record.captions for record in read] == [record.captions for record in twins]


@pytest.mark.parametrize("name", ["latin-\udce9.png", "two\rlines.png"])
def test_a_name_that_no_csv_can_hold_is_refused_before_anything_is_written(tmp_path, records, name):
    odd = replace(records[2], file_name=name)
    with pytest.raises(DataError, match=r"(?s)a CSV cannot hold .*--to jsonl"):
        write_dataset([records[1], odd], tmp_path / "out", format="csv")
    assert not (tmp_path / "out").exists()
    write_dataset([records[1], odd], tmp_path / "out", format="jsonl")
    assert load_records(tmp_path / "out").records[1].captions == odd.captions


@pytest.mark.parametrize("format", ["jsonl", "coco", "imagefolder", "webdataset", "parquet"])
def test_names_that_are_not_utf_8_are_written(tmp_path, records, format):
    odd = replace(records[0], image_id="caf\udce9", file_name="caf\udce9.png", group="\udcff")
    assert write_dataset([odd], tmp_path / "new", format=format) == []
    (record,) = load_records(tmp_path / "new").records
    assert record.captions == odd.captions


@pytest.mark.parametrize("second", ["jsonl", "csv"])
def test_two_converted_sets_are_not_mixed_in_one_folder(tmp_path, records, second):
    write_dataset(records, tmp_path / "out", format="jsonl")
    others = make_shapes(2)
    with pytest.raises(OutputError, match=r"read with the new ones: train.jsonl, val.jsonl"):
        write_dataset(others, tmp_path / "out", format=second)
    assert len(load_records(tmp_path / "out").records) == len(records)


def test_a_converted_set_is_overwritten_and_may_be_beside_formats_that_are_read_after_it(
    tmp_path, records
):
    write_dataset(records, tmp_path / "out", format="csv")
    for _ in range(2):
        write_dataset(records, tmp_path / "out", format="jsonl")
    assert load_records(tmp_path / "out").format == "jsonl"


def test_csv_is_real_csv(tmp_path, records):
    write_dataset(records, tmp_path / "out", format="csv")
    with (tmp_path / "out" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == ["A, b", 'C "d"', "é"]


def test_kept_images_stay_where_they_are(tmp_path, records):
    write_dataset(records[:2], tmp_path / "out", format="jsonl", images="keep")
    kept = load_records(tmp_path / "out", LoadOptions(allow_outside=True))
    assert [record.image for record in kept.records] == [record.image for record in records[:2]]
    assert not (tmp_path / "out" / "images").exists()
    with pytest.raises(DataError, match="coco contains its images"):
        write_dataset(records, tmp_path / "out", format="coco", images="keep")


def test_missing_images_are_listed_and_skipped(tmp_path, records):
    records[0].image.unlink()
    skipped = write_dataset(records, tmp_path / "out", format="jsonl")
    assert [(image.image_id, image.reason) for image in skipped] == [("1", "missing")]
    assert [r.image_id for r in load_records(tmp_path / "out").records] == ["2", "3"]


def test_hugging_face_reads_a_set_converted_to_imagefolder(tmp_path, records, monkeypatch):
    datasets = pytest.importorskip("datasets")
    out = tmp_path / "out"
    write_dataset(records, out, format="imagefolder")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "c"))
    assert {name: len(part) for name, part in loaded.items()} == {"train": 2, "validation": 1}
    assert loaded["train"][0]["captions"] == ["A, b", 'C "d"']


# --- files ------------------------------------------------------------------------------------


def test_skipped_images_are_one_json_object_per_line(tmp_path):
    path = tmp_path / "run" / "skipped_images.jsonl"
    save_skipped([SkippedImage("a", "x\udce9\n.jpg", "truncated", "why")], path)
    (line,) = path.read_text().splitlines()
    assert json.loads(line) == {
        "image_id": "a",
        "file": "x\udce9\n.jpg",
        "reason": "truncated",
        "detail": "why",
    }


def test_too_many_bad_images_stop_a_run_with_the_reasons():
    bad = [SkippedImage("a", "a.jpg", "empty"), SkippedImage("b", "b.jpg", "truncated")]
    raise_when_too_many_bad(bad, num_images=40, max_bad_fraction=0.05)
    raise_when_too_many_bad([], num_images=0, max_bad_fraction=0.0)
    with pytest.raises(DataError, match=r"2 of 39 images unusable \(1 empty, 1 truncated\)"):
        raise_when_too_many_bad(bad, num_images=39, max_bad_fraction=0.05)
    with pytest.raises(DataError, match="max_bad_fraction 0 allows"):
        raise_when_too_many_bad(bad, num_images=1000, max_bad_fraction=0.0)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with open_atomic(path) as file:
            file.write(b"new")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_existing_outputs_are_refused_and_an_empty_folder_is_accepted(tmp_path):
    refuse_existing(tmp_path / "new")
    refuse_existing(tmp_path)
    write_text(tmp_path / "a.txt", "x")
    for path in (tmp_path / "a.txt", tmp_path):
        with pytest.raises(OutputError, match="exists already") as caught:
            refuse_existing(path)
        assert "--force" in caught.value.fix


@pytest.mark.real_data
def test_a_real_set_converts_and_draws(tmp_path, real_data):
    data = load_records(real_data / "coco_mini", LoadOptions(limit=10))
    write_dataset(data.records, tmp_path / "out", format="imagefolder", images="link")
    again = load_records(Path(tmp_path / "out")).records
    assert [r.captions for r in again] == [r.captions for r in data.records]
    assert contact_sheet(again, columns=5).width > 1300


@pytest.mark.parametrize("is_packed", [False, True])
def test_replacing_a_linked_image_leaves_the_original_unchanged(tmp_path, is_packed):
    red, blue = tmp_path / "red" / "a.png", tmp_path / "blue" / "a.png"
    for path in (red, blue):
        path.parent.mkdir()
        Image.new("RGB", (20, 20), path.parent.name).save(path)
    before, image = red.read_bytes(), blue.read_bytes() if is_packed else blue
    out = tmp_path / "out"
    first = [CaptionRecord("1", red, ("a red square",), file_name="a.png")]
    write_dataset(first, out, format="jsonl", images="link")
    assert (out / "images" / "a.png").samefile(red)

    write_dataset([replace(first[0], image=image)], out, format="jsonl", images="copy")
    assert (out / "images" / "a.png").read_bytes() == blue.read_bytes()
    assert red.read_bytes() == before


def test_converted_images_have_names_that_are_valid_on_every_system(tmp_path):
    names = ("CON.png", "a:b.png", "Café.png", "cafe\u0301.png")
    content = Image.new("RGB", (20, 20), "red")
    buffer = io.BytesIO()
    content.save(buffer, "PNG")
    records = [
        CaptionRecord(str(number), buffer.getvalue(), ("a red square",), file_name=name)
        for number, name in enumerate(names)
    ]
    assert write_dataset(records, tmp_path, format="jsonl") == []
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "Café.png",
        "_CON.png",
        "a_b.png",
        "cafe\u0301-2.png",
    ]
    kept = {record.image_id: record for record in load_records(str(tmp_path)).records}
    assert sorted(kept) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("format", "length", "shown"), [("jsonl", 256, 256), ("coco", 256, 256), ("sidecar", 252, 256)]
)
def test_a_file_name_that_is_too_long_is_refused_before_anything_is_written(
    tmp_path, format, length, shown
):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    good = CaptionRecord("good", buffer.getvalue(), ("a red square",), file_name="good.png")
    # Two bytes per letter, except in the ending.
    name = "é" * ((length - 4) // 2) + ".png"
    long = replace(good, image_id="long", file_name=name)
    with pytest.raises(DataError, match=f"would have {shown} bytes.* allow 255") as error:
        write_dataset([good, long], tmp_path / "out", format=format)
    assert error.value.where == "image 'long'"
    assert "--to webdataset" in error.value.fix
    assert not (tmp_path / "out").exists()


def test_the_longest_possible_file_name_is_converted(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "PNG")
    name = "x" * 251 + ".png"
    record = CaptionRecord("1", buffer.getvalue(), ("a red square",), file_name=name)
    assert write_dataset([record], tmp_path, format="jsonl") == []
    assert (tmp_path / "images" / name).is_file()
