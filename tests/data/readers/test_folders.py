"""imagefolder, sidecar files and JSON records, and the detection among formats."""

from __future__ import annotations

import base64
import errno
import json
import os

import pytest

from captune.data import LoadOptions, detect_format, load_records, make_shapes, write_dataset
from captune.errors import DataError


def captions_of(data):
    return {record.image_id: record.captions for record in data.records}


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- imagefolder ------------------------------------------------------------------------------


def test_imagefolder_names_images_without_a_line_and_lines_without_an_image(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "unlisted.png")
    write_lines(
        tmp_path / "metadata.jsonl",
        [{"file_name": "a.png", "text": "An a"}, {"file_name": "gone.png", "text": "None"}],
    )
    data = load_records(tmp_path)
    assert data.format == "imagefolder"
    assert captions_of(data) == {"a.png": ("An a",)}
    assert [(image.file, image.reason, image.detail) for image in data.skipped] == [
        ("gone.png", "missing", f"looked in {tmp_path}"),
        ("unlisted.png", "no_caption", "no line in the metadata"),
    ]
    assert data.notes == (f"1 of 2 images missing: looked in {tmp_path}",)


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "webdataset", "coco"])
def test_the_hidden_files_that_macos_writes_on_other_disks_are_not_read(tmp_path, format):
    write_dataset(make_shapes(3), tmp_path, format=format)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    data = load_records(tmp_path)
    assert (len(data.records), data.skipped) == (3, ())


@pytest.mark.parametrize("captions", ["a.txt", "metadata.csv"])
def test_a_folder_that_cannot_be_read_is_noted_and_the_others_are_read(
    tmp_path, draw_image, monkeypatch, captions
):
    draw_image(tmp_path / "a.png")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / captions).write_text(
        "One\n" if captions == "a.txt" else "file_name,text\na.png,One\n"
    )
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    data = load_records(tmp_path)
    assert len(data.records) == 1
    (note,) = (note for note in data.notes if "lost+found" in note)
    assert note.endswith("cannot be read, and is skipped: Permission denied")


@pytest.mark.parametrize("name", ["./a.png", "x/../a.png", "A.PNG", "/another/machine/a.png"])
def test_an_image_whose_name_nearly_matches_is_not_reported_as_unlisted(tmp_path, draw_image, name):
    draw_image(tmp_path / "a.png")
    (tmp_path / "x").mkdir()
    write_lines(tmp_path / "metadata.jsonl", [{"file_name": name, "text": "One"}])
    data = load_records(tmp_path)
    assert len(data.records) == 1
    assert data.skipped == ()


def test_imagefolder_subfolders_are_splits(tmp_path, draw_image):
    for name in ("train", "validation", "test"):
        draw_image(tmp_path / name / "same.png")
        write_lines(
            tmp_path / name / "metadata.jsonl", [{"file_name": "same.png", "caption": ["x", "y"]}]
        )
    data = load_records(tmp_path)
    assert {record.image_id: record.split for record in data.records} == {
        "train/same.png": "train",
        "validation/same.png": "val",
        "test/same.png": "test",
    }
    assert data.records[0].captions == ("x", "y")


def test_imagefolder_with_a_metadata_csv_is_read(tmp_path, draw_image):
    draw_image(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "metadata.csv").write_text('file_name,text\na.png,"A, a"\n')
    assert captions_of(load_records(tmp_path)) == {"train/a.png": ("A, a",)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x"}', "a line has no file_name"),
        ('{"file_name": "a.png", "words": "x"}', "has no caption; its keys are: file_name, words"),
        ('{"file_name": "a.png"', "a line is not JSON"),
        ("[1]", "a line is not a JSON object"),
        ('{"file_name": "a.png", "text": 3}', "must be text or a list of texts, not int"),
    ],
)
def test_a_broken_metadata_line_is_named(tmp_path, draw_image, line, message):
    draw_image(tmp_path / "a.png")
    good = json.dumps({"file_name": "a.png", "text": "x"})
    (tmp_path / "metadata.jsonl").write_text(f"{good}\n\n{line}\n")
    with pytest.raises(DataError, match=message) as caught:
        load_records(tmp_path)
    assert "metadata.jsonl, line 3" in caught.value.where


# --- sidecar ----------------------------------------------------------------------------------


def test_captions_are_beside_their_images_one_per_line(tmp_path, draw_image):
    draw_image(tmp_path / "train" / "a.png")
    draw_image(tmp_path / "test" / "b.png")
    draw_image(tmp_path / "test" / "c.png")
    draw_image(tmp_path / "test" / "bare.png")
    draw_image(tmp_path / "test" / "empty.png")
    (tmp_path / "train" / "a.txt").write_bytes(b"\xef\xbb\xbfOne\r\n\r\nTwo\r\n")
    (tmp_path / "test" / "b.caption").write_text("Three")
    (tmp_path / "test" / "c.png.txt").write_text("Four")
    (tmp_path / "test" / "empty.txt").write_text(" \n")
    data = load_records(tmp_path)
    assert data.format == "sidecar"
    assert captions_of(data) == {
        "test/b.png": ("Three",),
        "test/c.png": ("Four",),
        "train/a.png": ("One", "Two"),
    }
    assert [record.split for record in data.records] == ["test", "test", "train"]
    assert {image.file: image.reason for image in data.skipped} == {
        "test/bare.png": "no_caption",
        "test/empty.png": "no_caption",
    }
    assert data.empty_captions == ("test/empty.png",)


def test_two_images_with_one_caption_file_are_an_error(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("One")
    with pytest.raises(DataError, match=r"share the caption file .*a.txt: a.jpg and a.png"):
        load_records(tmp_path)


def test_a_loop_of_links_ends(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("One")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(load_records(tmp_path).records) == 1


def test_unusual_file_names_survive_into_the_split_files(tmp_path, draw_image):
    from captune.data import assign_splits, load_splits, save_splits

    names = ["new\nline.png", "-dash.png", "smile \U0001f600.png", "\u202ertl.png"]
    names.append(os.fsdecode(b"latin-\xe9.png"))
    for name in names:
        draw_image(tmp_path / "data" / name)
        (tmp_path / "data" / f"{name}.txt").write_text("x")
    data = load_records(tmp_path / "data")
    assert {record.image_id for record in data.records} == set(names)
    records = assign_splits(data.records)
    save_splits(records, tmp_path / "run")
    assert set(load_splits(tmp_path / "run")) == set(records)


# --- JSON records -----------------------------------------------------------------------------


def test_json_records_are_read_with_every_usual_spelling_of_keys(tmp_path, draw_image, png_bytes):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "sub" / "b.png")
    encoded = base64.b64encode(png_bytes()).decode()
    write_lines(
        tmp_path / "data.jsonl",
        [
            {"image_id": 17, "image": "a.png", "captions": ["A", "B"], "group": "g"},
            {"image": {"path": "sub/b.png"}, "captions": [{"raw": "C"}, {"raw": "D"}]},
            {"image": {"bytes": encoded, "path": "c.png"}, "captions": "E"},
        ],
    )
    data = load_records(tmp_path)
    assert data.format == "jsonl"
    assert captions_of(data) == {"17": ("A", "B"), "sub/b.png": ("C", "D"), "c.png": ("E",)}
    assert data.records[0].group == "g"
    assert data.records[2].image == png_bytes()


def test_a_json_list_of_records_is_read(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.json").write_text(json.dumps([{"file_name": "a.png", "text": "A"}]))
    assert captions_of(load_records(tmp_path / "d.json")) == {"a.png": ("A",)}


# --- detection --------------------------------------------------------------------------------


def test_an_unknown_folder_is_described_with_the_formats_tried(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "notes.md").touch()
    with pytest.raises(DataError) as caught:
        load_records(tmp_path)
    assert "found 1 image without captions; notes.md" in caught.value.what
    assert "jsonl, table, sidecar" in caught.value.where
    assert "write the captions of a.jpg into a.txt" in caught.value.fix


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/such/folder", "no such file or folder: no/such/folder"),
        ("../missing", r"no such file or folder: \.\./missing"),
        ("shapes:many", "'many' is not a number of images"),
        ("shapes:0", "'0' is not a number of images"),
    ],
)
def test_a_missing_place_is_named(path, message):
    with pytest.raises(DataError, match=message):
        load_records(path)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown data format 'cocoo'") as caught:
        load_records(tmp_path, LoadOptions(format="cocoo"))
    assert "imagefolder" in caught.value.fix


def test_a_data_set_without_one_usable_image_is_an_error_that_names_the_first(tmp_path):
    (tmp_path / "d.csv").write_text("image,caption\ngone.png,x\n")
    with pytest.raises(
        DataError, match=r"no usable image .* first: gone.png \(missing\)"
    ) as caught:
        load_records(tmp_path)
    assert "--image-root" in caught.value.fix


def test_an_empty_table_is_an_empty_data_set(tmp_path):
    (tmp_path / "d.csv").write_text("image,caption\n")
    with pytest.raises(DataError, match="is empty"):
        load_records(tmp_path)


def test_a_single_split_is_removed_and_reported(tmp_path, draw_image):
    draw_image(tmp_path / "train" / "a.png")
    write_lines(tmp_path / "train" / "metadata.jsonl", [{"file_name": "a.png", "text": "x"}])
    data = load_records(tmp_path)
    assert data.records[0].split is None
    assert data.notes == ("all images are train: the data set gives no splits",)


def test_the_built_in_set_is_a_data_set():
    data = load_records("shapes:5")
    assert (len(data.records), data.format) == (5, "shapes")
    assert len(load_records("shapes:5", LoadOptions(limit=2)).records) == 2


def test_a_given_format_overrides_detection(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("beside")
    (tmp_path / "d.csv").write_text("image,caption\na.png,table\n")
    assert detect_format(tmp_path) == "table"
    data = load_records(tmp_path, LoadOptions(format="sidecar"))
    assert captions_of(data) == {"a.png": ("beside",)}


# --- ids that restart -------------------------------------------------------------------------


def test_an_id_used_for_two_images_never_mixes_their_captions(tmp_path, draw_image):
    for name in "abc":
        draw_image(tmp_path / f"{name}.png")
    rows = [("a.png", "A", 0), ("b.png", "B", 0), ("a.png", "AA", 0), ("c.png", "C", 0)]
    write_lines(
        tmp_path / "d.jsonl",
        [{"image": image, "caption": text, "image_id": number} for image, text, number in rows],
    )
    data = load_records(tmp_path)
    assert captions_of(data) == {"0": ("A", "AA"), "b.png": ("B",), "c.png": ("C",)}


def test_images_that_share_id_and_name_are_numbered(tmp_path, png_bytes):
    rows = [
        {
            "image_id": "0",
            "image": {
                "bytes": base64.b64encode(png_bytes((n % 5, 0, 0))).decode(),
                "path": "x.png",
            },
            "caption": f"{n % 5} in turn {n // 5}",
        }
        for n in range(10)
    ]
    write_lines(tmp_path / "d.jsonl", rows)
    data = load_records(tmp_path)
    assert list(captions_of(data).values()) == [
        (f"{n} in turn 0", f"{n} in turn 1") for n in range(5)
    ]


def test_imagefolder_with_one_metadata_file_finds_splits_and_strays_in_its_folders(
    tmp_path, draw_image
):
    for name in ("train/a.png", "train/stray.png", "test/b.png"):
        draw_image(tmp_path / name)
    write_lines(
        tmp_path / "metadata.jsonl",
        [{"file_name": "train/a.png", "text": "A"}, {"file_name": "test/b.png", "text": "B"}],
    )
    data = load_records(tmp_path)
    assert [(r.image_id, r.split) for r in data.records] == [
        ("train/a.png", "train"),
        ("test/b.png", "test"),
    ]
    assert [(i.file, i.reason) for i in data.skipped] == [("train/stray.png", "no_caption")]


def test_imagefolder_below_a_data_folder_is_found(tmp_path, draw_image):
    for name in ("train", "test"):
        draw_image(tmp_path / "data" / name / "a.png")
        write_lines(
            tmp_path / "data" / name / "metadata.jsonl", [{"file_name": "a.png", "text": name}]
        )
    assert [r.split for r in load_records(tmp_path).records] == ["test", "train"]
