"""Karpathy's files for COCO and both Flickrs, and COCO's own files, with their image folders."""

from __future__ import annotations

import json

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


def entry(number, *, split, filepath="", captions=None, **more):
    """Return an image entry in the form of Karpathy's files."""
    texts = captions or [f"Caption {turn} of {number}" for turn in range(5)]
    name = f"COCO_{filepath}_{number:012}.jpg" if filepath else f"{number}_0123abcd.jpg"
    sentences = [
        {"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 5 * number + turn}
        for turn, text in enumerate(texts)
    ]
    where = {"filepath": filepath, "cocoid": 1000 + number} if filepath else {}
    return {
        **where,
        "sentids": [5 * number + turn for turn in range(len(texts))],
        "filename": name,
        "imgid": number,
        "split": split,
        "sentences": sentences,
        **more,
    }


COCO = [
    entry(1, split="train", filepath="train2014"),
    entry(2, split="train", filepath="train2014"),
    entry(3, split="restval", filepath="val2014"),
    entry(4, split="val", filepath="val2014"),
    entry(5, split="test", filepath="val2014"),
]
FLICKR = [entry(n, split=("train", "train", "train", "val", "test")[n]) for n in range(5)]


def write_karpathy(path, images, dataset="coco"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "dataset": dataset}))
    return path


def test_images_whose_cocoid_is_null_have_their_names_as_ids(tmp_path, draw_image):
    images = [entry(number, split="train", cocoid=None) for number in (1, 2)]
    for image in images:
        draw_image(tmp_path / image["filename"])
    data = load_records(write_karpathy(tmp_path / "dataset_coco.json", images))
    assert [record.image_id for record in data.records] == ["1_0123abcd.jpg", "2_0123abcd.jpg"]
    assert not [note for note in data.notes if "renamed" in note]


def splits_of(data):
    return {record.image_id: record.split for record in data.records}


@pytest.fixture
def coco(tmp_path, draw_image):
    for image in COCO:
        draw_image(tmp_path / image["filepath"] / image["filename"])
    write_karpathy(tmp_path / "dataset_coco.json", COCO)
    return tmp_path


def test_coco_is_read_by_its_folders_with_restval_as_training_data(coco):
    data = load_records(coco)
    assert data.format == "karpathy"
    assert splits_of(data) == {
        "1001": "train",
        "1002": "train",
        "1003": "train",
        "1004": "val",
        "1005": "test",
    }
    third = data.records[2]
    assert third.captions == tuple(f"Caption {turn} of 3" for turn in range(5))
    assert third.image == coco / "val2014" / "COCO_val2014_000000000003.jpg"
    assert third.file_name == "val2014/COCO_val2014_000000000003.jpg"
    assert data.notes == ("1 restval image is used for training, as usual",)


@pytest.mark.parametrize("folder", ["images/{}", "{0}/{0}", "elsewhere/{}"])
def test_coco_folders_are_found_where_people_unpack_them(coco, folder):
    for name in ("train2014", "val2014"):
        (coco / "moving").mkdir(exist_ok=True)
        (coco / name).rename(coco / "moving" / name)
        target = coco / folder.format(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        (coco / "moving" / name).rename(target)
    root = coco / "elsewhere" if "elsewhere" in folder else None
    data = load_records(coco / "dataset_coco.json", LoadOptions(image_root=root))
    assert (len(data.records), data.skipped) == (5, ())


def test_karpathys_splits_take_precedence_over_cocos_own_files(coco):
    (coco / "annotations").mkdir()
    captions = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}
    (coco / "annotations" / "captions_train2014.json").write_text(json.dumps(captions))
    assert load_records(coco).format == "karpathy"


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("flickr8k", "Flicker8k_Dataset"),
        ("flickr8k", "Images"),
        ("flickr30k", "flickr30k-images"),
        ("flickr30k", "."),
    ],
)
def test_both_flickrs_are_read_although_they_have_no_filepath(
    tmp_path, draw_image, dataset, folder
):
    for image in FLICKR:
        draw_image(tmp_path / folder / image["filename"])
    write_karpathy(tmp_path / f"dataset_{dataset}.json", FLICKR, dataset)
    data = load_records(tmp_path)
    assert data.format == "karpathy"
    assert splits_of(data) == {
        "0_0123abcd.jpg": "train",
        "1_0123abcd.jpg": "train",
        "2_0123abcd.jpg": "train",
        "3_0123abcd.jpg": "val",
        "4_0123abcd.jpg": "test",
    }


def test_karpathys_file_takes_precedence_over_kaggles_captions(tmp_path, draw_image):
    for image in FLICKR:
        draw_image(tmp_path / "Images" / image["filename"])
    (tmp_path / "captions.txt").write_text("image,caption\n0_0123abcd.jpg,x\n")
    write_karpathy(tmp_path / "dataset_flickr8k.json", FLICKR)
    assert load_records(tmp_path).format == "karpathy"


def test_of_several_karpathy_files_the_one_whose_images_exist_is_read(coco):
    write_karpathy(coco / "dataset_flickr8k.json", FLICKR, "flickr8k")
    data = load_records(coco)
    assert len(data.records) == 5
    assert data.notes[0] == (
        "dataset_coco.json was read: the images of the other files are missing"
    )
    for image in COCO:
        (coco / image["filepath"] / image["filename"]).unlink()
    with pytest.raises(DataError, match=r"has 2 of Karpathy's files .* images of none") as caught:
        load_records(coco)
    assert "give the file itself" in caught.value.fix


def test_a_renamed_file_is_recognised_by_its_content(coco):
    (coco / "dataset_coco.json").rename(coco / "my_splits.json")
    assert load_records(coco).format == "karpathy"
    assert load_records(coco / "my_splits.json").format == "karpathy"


def test_missing_images_are_counted_folder_by_folder(coco):
    (coco / "train2014" / "COCO_train2014_000000000002.jpg").unlink()
    data = load_records(coco)
    assert [(image.image_id, image.reason) for image in data.skipped] == [("1002", "missing")]
    assert data.notes[1] == (f"1 of 5 images missing: looked in {coco / 'train2014'}, {coco}")


def test_missing_images_are_an_error_with_their_number_and_the_folders_searched(coco):
    for image in COCO:
        (coco / image["filepath"] / image["filename"]).unlink()
    (coco / "val2014").rmdir()
    with pytest.raises(
        DataError, match=r"5 skipped \(5 missing\), the first: train2014/COCO_tr"
    ) as e:
        load_records(coco)
    assert f"3 x looked in {coco / 'val2014'} (missing), {coco}" in e.value.where
    assert f"2 x looked in {coco / 'train2014'}, {coco}" in e.value.where
    assert "data.image_root" in e.value.fix


def test_captions_are_the_raw_ones_whether_text_or_list(tmp_path, draw_image):
    image = entry(1, split="train", captions=["A  Dog, on grass.", "Two"])
    image["sentences"][1]["raw"] = ["Two", "Three"]
    draw_image(tmp_path / image["filename"])
    write_karpathy(tmp_path / "dataset_flickr8k.json", [image])
    assert load_records(tmp_path).records[0].captions == ("A Dog, on grass.", "Two", "Three")


def test_columns_of_the_file_can_be_filtered_by(coco):
    data = load_records(coco, LoadOptions(filters={"filepath": ("val2014",)}))
    assert splits_of(data) == {"1003": "train", "1004": "val", "1005": "test"}
    assert "filters (filepath: val2014) skipped 2 images" in data.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [{"filename": "1.jpg", "sentences": []}]}', r"images\[0\] has no split"),
        ('{"sentences": 1}', "no list of images"),
        (json.dumps({"images": [entry(1, split="held")]}), r"images\[0\] has the split 'held'"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_fault(tmp_path, content, message):
    path = tmp_path / "dataset_coco.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        load_records(path)


def test_a_trailing_comma_is_named_with_its_line(coco):
    text = json.dumps({"images": COCO}, indent=1)
    lines = text.splitlines()
    lines[-3] += ","
    (coco / "dataset_coco.json").write_text("\n".join(lines))
    with pytest.raises(DataError, match="a comma before the closing bracket") as caught:
        load_records(coco)
    assert caught.value.where.endswith(f"dataset_coco.json, line {len(lines) - 2}")


# --- COCO's own files -------------------------------------------------------------------------


def write_coco(root, draw_image, name, numbers, prefix):
    for number in numbers:
        draw_image(root / name / f"{prefix}{number:012}.jpg")
    images = [
        {"license": 4, "file_name": f"{prefix}{n:012}.jpg", "height": 24, "width": 24, "id": n}
        for n in numbers
    ]
    annotations = [
        {"image_id": n, "id": 10 * n + turn, "caption": f"C{turn} of {n}"}
        for n in numbers
        for turn in range(5)
    ]
    path = root / "annotations" / f"captions_{name}.json"
    path.parent.mkdir(exist_ok=True)
    value = {"info": {}, "images": images, "licenses": [], "annotations": annotations}
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_of_both_years_is_read_with_its_image_folders(tmp_path, draw_image, year):
    for part, numbers in (("train", (9, 25)), ("val", (42,))):
        prefix = f"COCO_{part}2014_" if year == "2014" else ""
        write_coco(tmp_path, draw_image, f"{part}{year}", numbers, prefix)
    data = load_records(tmp_path)
    assert data.format == "coco"
    assert splits_of(data) == {"9": "train", "25": "train", "42": "val"}
    assert [len(record.captions) for record in data.records] == [5, 5, 5]


def test_a_coco_caption_that_is_a_list_is_read_as_captions(tmp_path, draw_image):
    path = write_coco(tmp_path, draw_image, "train2017", (7,), "")
    value = json.loads(path.read_text())
    value["annotations"][0]["caption"] = ["One", "Two"]
    path.write_text(json.dumps(value))
    captions = load_records(tmp_path).records[0].captions
    assert captions == ("One", "Two", "C1 of 7", "C2 of 7", "C3 of 7", "C4 of 7")


def test_missing_coco_images_are_an_error_with_the_folder_searched(tmp_path, draw_image):
    path = write_coco(tmp_path, draw_image, "train2017", (7, 8), "")
    (tmp_path / "train2017").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"2 skipped \(2 missing\)") as caught:
        load_records(tmp_path)
    assert f"2 x looked in {tmp_path / 'train2017'} (missing)" in caught.value.where
    data = load_records(path, LoadOptions(image_root=tmp_path / "pictures"))
    assert len(data.records) == 2
