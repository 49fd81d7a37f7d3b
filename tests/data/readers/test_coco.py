"""COCO's caption files, and others of their structure."""

from __future__ import annotations

import json

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


def captions_of(data):
    return {record.image_id: record.captions for record in data.records}


def coco(pairs):
    return {
        "images": [{"id": number, "file_name": f"{number:012}.png"} for number in pairs],
        "annotations": [
            {"id": 10 * number + turn, "image_id": number, "caption": text}
            for number, texts in pairs.items()
            for turn, text in enumerate(texts)
        ],
    }


def write_coco(tmp_path, draw_image, name, pairs):
    for number in pairs:
        draw_image(tmp_path / name / f"{number:012}.png")
    path = tmp_path / "annotations" / f"captions_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(coco(pairs)))
    return path


def test_coco_captions_of_train_and_val_are_read_with_their_folders(tmp_path, draw_image):
    write_coco(tmp_path, draw_image, "train2017", {7: ["A", "B"], 9: ["C"]})
    path = write_coco(tmp_path, draw_image, "val2017", {3: ["D"]})
    data = load_records(tmp_path)
    assert data.format == "coco"
    assert captions_of(data) == {"7": ("A", "B"), "9": ("C",), "3": ("D",)}
    assert [record.split for record in data.records] == ["train", "train", "val"]
    assert data.records[2].image == tmp_path / "val2017" / "000000000003.png"
    assert captions_of(load_records(path)) == {"3": ("D",)}


def test_coco_lists_missing_images_and_images_without_captions(tmp_path, draw_image):
    path = write_coco(tmp_path, draw_image, "train2017", {7: ["A"], 9: ["C"], 5: []})
    (tmp_path / "train2017" / "000000000009.png").unlink()
    data = load_records(path)
    assert {image.image_id: image.reason for image in data.skipped} == {
        "9": "missing",
        "5": "no_caption",
    }


def test_coco_captions_of_an_image_that_is_not_listed_are_counted(tmp_path, draw_image):
    draw_image(tmp_path / "train2017" / "7.jpg")
    content = {
        "images": [{"id": 7, "file_name": "7.jpg"}],
        "annotations": [{"image_id": i, "caption": t} for i, t in ((7, "A"), (8, "B"), (8, "C"))],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(content))
    data = load_records(tmp_path)
    assert captions_of(data) == {"7": ("A",)}
    (left_out,) = data.skipped
    assert (left_out.image_id, left_out.reason) == ("8", "missing")
    assert "does not list the image" in left_out.detail


def test_no_captions_are_taken_from_an_id_that_two_coco_images_share(tmp_path, draw_image):
    for name in ("7.jpg", "8.jpg", "9.jpg"):
        draw_image(tmp_path / "train2017" / name)
    # As after two annotation files were merged. An image that is listed twice is one image.
    listed = [(7, "7.jpg"), (8, "8.jpg"), (8, "8.jpg"), (7, "9.jpg")]
    content = {
        "images": [{"id": number, "file_name": name} for number, name in listed],
        "annotations": [{"image_id": i, "caption": t} for i, t in ((7, "A"), (8, "B"))],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(content))
    data = load_records(tmp_path)
    assert captions_of(data) == {"8": ("B",)}
    assert {(image.file, image.reason) for image in data.skipped} == {
        ("7.jpg", "ambiguous"),
        ("9.jpg", "ambiguous"),
    }
    assert "7.jpg and 9.jpg one id, 7" in data.skipped[0].detail


def test_coco_ids_that_a_table_turned_into_floats_are_whole_numbers(tmp_path, draw_image):
    draw_image(tmp_path / "train2017" / "7.jpg")
    content = {
        "images": [{"id": 7, "file_name": "7.jpg"}],
        "annotations": [{"image_id": 7.0, "caption": "A"}],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(content))
    assert captions_of(load_records(tmp_path)) == {"7": ("A",)}


def test_a_column_named_for_a_format_without_columns_is_reported(tmp_path, draw_image):
    write_coco(tmp_path, draw_image, "train2017", {7: ["A"]})
    data = load_records(tmp_path, LoadOptions(caption_column="text"))
    assert "data.caption_column not used: the format 'coco' has no columns to choose" in data.notes


def test_coco_boxes_are_not_taken_for_captions(tmp_path, draw_image):
    write_coco(tmp_path, draw_image, "train2017", {7: ["A"]})
    boxes = {"images": [], "annotations": [{"id": 1, "image_id": 7, "bbox": [0, 0, 1, 1]}]}
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(boxes))
    assert captions_of(load_records(tmp_path)) == {"7": ("A",)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_captions_are_found_in_a_file_of_any_name_and_encoding(tmp_path, draw_image, encoding):
    draw_image(tmp_path / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "url": "x" * 70_000}],
        "annotations": [{"image_id": 1, "caption": "A"}],
    }
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "mine.json").write_text(mark + json.dumps(content), encoding=encoding)
    assert captions_of(load_records(tmp_path)) == {"1": ("A",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "no list of annotations"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\] has no file_name"),
        ({"images": [], "annotations": [{"image_id": 4}]}, r"annotations\[0\] has no caption"),
    ],
)
def test_a_broken_coco_file_is_an_error_that_names_the_missing_key(tmp_path, content, message):
    path = tmp_path / "captions_val.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        load_records(path)


@pytest.mark.real_data
def test_the_real_coco_sample_has_eighty_images_of_five_captions(real_data):
    data = load_records(real_data / "coco_mini")
    assert len(data.records) == 80
    assert sum(len(record.captions) for record in data.records) == 400
    # A single train file does not make a split.
    assert data.count_splits() == {"none": 80}


def test_ids_and_names_that_restart_in_each_coco_file_are_different_images(tmp_path, draw_image):
    write_coco(tmp_path, draw_image, "train", {1: ["train one"], 2: ["train two"]})
    write_coco(tmp_path, draw_image, "val", {1: ["val one"]})
    data = load_records(tmp_path)
    assert {(r.image_id, r.split, r.captions, r.image.parent.name) for r in data.records} == {
        ("1", "train", ("train one",), "train"),
        ("2", "train", ("train two",), "train"),
        ("val/1", "val", ("val one",), "val"),
    }
    assert data.in_two_splits == ()
    assert data.notes == ("1 id names several images (the first: 1); all but one were renamed",)
