"""Real, half-broken data sets: each fault is reported with its place."""

from __future__ import annotations

import base64
import json

import pytest

from captune.data import (
    LoadOptions,
    assign_splits,
    check_data,
    load_records,
    make_shapes,
    select_split,
    take_fraction,
    write_dataset,
)
from captune.errors import DataError
from captune.records import CaptionRecord


def captions_of(data):
    return {record.image_id: record.captions for record in data.records}


def write_csv(path, rows, header="image,caption"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


# --- captions ---------------------------------------------------------------------------------


def test_a_caption_column_without_any_caption_is_an_error(tmp_path, draw_image):
    for name in "ab":
        draw_image(tmp_path / f"{name}.png")
    write_csv(tmp_path / "d.csv", ["a.png,", "b.png,  "])
    with pytest.raises(DataError, match="2 images without a caption") as caught:
        load_records(tmp_path)
    assert "--caption-column" in caught.value.fix


def test_a_text_in_one_line_and_a_list_in_another_are_both_captions(tmp_path, draw_image):
    rows = [("a.png", "One"), ("b.png", ["Two", "Three"]), ("c.png", [{"raw": "Four"}])]
    for name, _ in rows:
        draw_image(tmp_path / name)
    lines = [json.dumps({"image": name, "caption": caption}) for name, caption in rows]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    assert captions_of(load_records(tmp_path)) == {
        "a.png": ("One",),
        "b.png": ("Two", "Three"),
        "c.png": ("Four",),
    }


@pytest.mark.parametrize("caption", [3, True, [["x"], 4], {"lang": "en"}])
def test_a_caption_of_another_type_is_an_error_with_its_line(tmp_path, draw_image, caption):
    draw_image(tmp_path / "a.png")
    lines = [{"image": "a.png", "caption": "x"}, {"image": "a.png", "caption": caption}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match="a caption must be text or a list of texts") as caught:
        load_records(tmp_path)
    assert caught.value.where.endswith("d.jsonl, line 2, column 'caption'")


# --- JSON -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"image": "a.png", "text": "A"},\n]\n', 2),
        ('[\n{"image": "a.png",\n"text": "A",\n\n}]', 3),
        ('[{"image": "a.png", "text": ["A", ]}]', 1),
    ],
)
def test_a_trailing_comma_is_reported_with_its_line(tmp_path, draw_image, text, line):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.json").write_text(text)
    for place in (tmp_path, tmp_path / "d.json"):
        with pytest.raises(DataError, match="a comma before the closing bracket") as caught:
            load_records(place)
        assert caught.value.where.endswith(f"d.json, line {line}")


def test_other_broken_json_is_reported_with_its_line(tmp_path):
    (tmp_path / "d.json").write_text('[\n{"image": "a.png" "text": "A"}]')
    with pytest.raises(DataError, match="is not JSON: Expecting ',' delimiter") as caught:
        load_records(tmp_path)
    assert caught.value.where.endswith("d.json, line 2")


# --- files ------------------------------------------------------------------------------------


def test_images_with_one_name_in_different_folders_stay_separate(tmp_path, draw_image):
    draw_image(tmp_path / "x" / "a.png", (255, 0, 0))
    draw_image(tmp_path / "y" / "a.png", (0, 0, 255))
    write_csv(tmp_path / "d.csv", ["x/a.png,Red", "y/a.png,Blue"])
    data = load_records(tmp_path)
    assert captions_of(data) == {"x/a.png": ("Red",), "y/a.png": ("Blue",)}
    write_dataset(data.records, tmp_path / "out", format="csv")
    again = load_records(tmp_path / "out")
    assert len({record.image for record in again.records}) == 2
    assert captions_of(again) == captions_of(data)


def test_a_name_that_two_folders_have_is_listed_as_ambiguous(tmp_path, draw_image):
    draw_image(tmp_path / "images" / "a.png", (255, 0, 0))
    draw_image(tmp_path / "photos" / "a.png", (0, 0, 255))
    for folder in ("images", "photos"):
        draw_image(tmp_path / folder / "same.png")
    write_csv(tmp_path / "d.csv", ["a.png,Red", "same.png,Either"])
    data = load_records(tmp_path)
    assert captions_of(data) == {"same.png": ("Either",)}
    (image,) = data.skipped
    assert (image.file, image.reason) == ("a.png", "ambiguous")
    assert str(tmp_path / "images" / "a.png") in image.detail
    assert str(tmp_path / "photos" / "a.png") in image.detail
    problem = next(p for p in check_data(data).problems if "ambiguous" in p.text)
    assert problem.severity == "error"
    rooted = load_records(tmp_path, LoadOptions(image_root=tmp_path / "photos"))
    assert rooted.records[0].image == tmp_path / "photos" / "a.png"


def test_missing_images_and_images_without_a_line_are_counted_and_listed(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "stray.png")
    lines = [{"file_name": name, "text": "x"} for name in ("a.png", "gone.png")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = load_records(tmp_path)
    assert {image.file: image.reason for image in data.skipped} == {
        "gone.png": "missing",
        "stray.png": "no_caption",
    }
    texts = [problem.text for problem in check_data(data).problems]
    assert "1 image cannot be found (1 missing)" in texts
    assert "1 image without a caption, skipped" in texts


def test_the_table_that_the_splits_were_cut_from_does_not_double_the_captions(tmp_path, draw_image):
    for name in ("a", "b", "c"):
        draw_image(tmp_path / f"{name}.png")
    header = "image_path,caption"
    write_csv(tmp_path / "all.csv", ["a.png,A", "b.png,B", "c.png,C"], header)
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        write_csv(tmp_path / f"{split}.csv", [f"{name}.png,{name.upper()}"], header)
    data = load_records(tmp_path)
    assert captions_of(data) == {"c.png": ("C",), "a.png": ("A",), "b.png": ("B",)}
    assert data.notes == ("not read, because the splits have tables of their own: all.csv",)


def test_a_zip_of_a_data_set_gives_the_advice_to_unpack_it(tmp_path):
    (tmp_path / "data.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="no known data set format") as caught:
        load_records(tmp_path / "data.zip")
    assert caught.value.fix.startswith("unpack it and give the folder")


# --- splits -----------------------------------------------------------------------------------


def test_an_empty_split_is_an_error_that_lists_the_other_splits(tmp_path, draw_image):
    for split in ("train", "val"):
        draw_image(tmp_path / f"{split}.png")
        write_csv(tmp_path / f"{split}.csv", [f"{split}.png,x"])
    records = assign_splits(load_records(tmp_path).records)
    with pytest.raises(DataError, match=r"no images; splits with images: train \(1 image\), val"):
        select_split(records, "test")


def test_a_group_in_two_splits_is_found_and_refused_with_split_by_group(tmp_path, draw_image):
    for split, group in (("train", "f1"), ("val", "f2"), ("test", "f1")):
        draw_image(tmp_path / f"{split}.png")
        write_csv(tmp_path / f"{split}.csv", [f"{split}.png,x,{group}"], "image,caption,group")
    data = load_records(tmp_path)
    leaks = [leak for leak in check_data(data).leaks if leak.kind == "group"]
    assert [leak.splits for leak in leaks] == [("train", "test")]
    with pytest.raises(
        DataError, match="1 of 2 groups are in several splits, the first: f1"
    ) as caught:
        assign_splits(data.records, by="group")
    assert "data.split_by: image" in caught.value.fix


# --- a share of the data ----------------------------------------------------------------------


def grouped(number):
    """Groups of one to five images."""
    groups = [f"g{n}" for n in range(number) for _ in range(n % 5 + 1)]
    return [
        CaptionRecord(f"i{n}", b"", ("x",), group=group) for n, group in enumerate(groups[:number])
    ]


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5, 0.9, 1.0])
def test_a_share_keeps_groups_together_and_is_as_large_as_possible(share):
    records = assign_splits(grouped(600), by="group")
    kept = take_fraction(records, share, seed=3)
    groups = {record.group for record in kept}
    assert [r for r in records if r.group in groups] == kept
    scored = ("val", "test")
    assert [r for r in kept if r.split in scored] == [r for r in records if r.split in scored]
    whole, part = (sum(r.split == "train" for r in some) for some in (records, kept))
    assert abs(part - share * whole) <= 2.5


def test_shares_are_nested_and_independent_of_order_and_other_images():
    records = assign_splits(grouped(300), by="group")
    previous: set[str] = set()
    for share in (0.01, 0.2, 0.21, 0.5, 0.99, 1.0):
        kept = {record.image_id for record in take_fraction(records, share, seed=0)}
        assert previous <= kept
        previous = kept
    half = {r.image_id for r in take_fraction(records, 0.5, seed=0)}
    assert {r.image_id for r in take_fraction(records[::-1], 0.5, seed=0)} == half
    assert {r.image_id for r in take_fraction(records, 0.5, seed=1)} != half
    # With 40 more images in 8 groups, some cross the limit and the rest is unchanged.
    more = [CaptionRecord(f"n{n}", b"", ("x",), "train", f"new{n // 5}") for n in range(40)]
    among_more = {r.image_id for r in take_fraction([*records, *more], 0.5, seed=0)}
    assert len(half - among_more) <= 20


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(DataError, match="must be above 0 and at most 1"):
        take_fraction(make_shapes(3), share, seed=0)


def test_the_smallest_share_still_holds_a_training_image():
    records = assign_splits([CaptionRecord(f"{n}", b"", ("x",)) for n in range(50)])
    kept = take_fraction(records, 1e-9, seed=0)
    splits = [str(record.split) for record in kept]
    assert [splits.count(split) for split in ("train", "val", "test")] == [1, 5, 5]


@pytest.mark.parametrize("named", [{}, {"image_column": "image", "caption_column": "text"}])
def test_empty_files_and_folders_are_reported_as_empty(tmp_path, named):
    options = LoadOptions(**named)
    (tmp_path / "rows.csv").touch()
    with pytest.raises(DataError, match=r"rows\.csv is empty: 0 bytes"):
        load_records(tmp_path / "rows.csv", options)
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder is empty"):
        load_records(tmp_path / "folder", options)


def test_a_folder_without_a_table_is_not_asked_for_its_columns(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    named = LoadOptions(image_column="image", caption_column="text")
    with pytest.raises(DataError, match=r"no known data set format in .*; found"):
        load_records(tmp_path, named)


def test_an_image_whose_name_is_too_long_for_another_extension_is_read(tmp_path, draw_image):
    draw_image(tmp_path / f"{'x' * 251}.png")
    (tmp_path / f"{'x' * 251}.txt").write_text("One")
    assert load_records(tmp_path).records[0].captions == ("One",)


def test_images_without_a_split_among_others_with_one_are_counted(tmp_path, draw_image):
    for name in "abcd":
        draw_image(tmp_path / f"{name}.png")
    (tmp_path / "data.csv").write_text(
        "image,caption,split\na.png,One,val\nb.png,Two,tset\nc.png,Three,\nd.png,Four,train\n"
    )
    assert load_records(tmp_path).notes == (
        "rows whose split is not train, val or test: 'tset' (1)",
        "2 images skipped: in no split, although others are",
    )


def test_a_table_of_urls_gives_the_advice_to_download_them(tmp_path):
    (tmp_path / "data.csv").write_text("image,caption\nhttps://example.com/1.jpg,One\n")
    with pytest.raises(DataError, match=r"all 1 are URLs(?s:.*)download the images first"):
        load_records(tmp_path)


@pytest.mark.parametrize("nothing", ["null", "NaN", '""', '" "'])
@pytest.mark.parametrize("name", ["data.jsonl", "metadata.jsonl"])
def test_a_null_is_neither_an_id_nor_a_group(tmp_path, draw_image, name, nothing):
    key = "file_name" if name == "metadata.jsonl" else "image"
    for image in "ab":
        draw_image(tmp_path / f"{image}.png")
    lines = (
        f'{{"{key}": "{image}.png", "text": "One", "image_id": {nothing}, "group": {nothing}}}\n'
        for image in "ab"
    )
    (tmp_path / name).write_text("".join(lines))
    data = load_records(tmp_path)
    assert [(record.image_id, record.group) for record in data.records] == [
        ("a.png", None),
        ("b.png", None),
    ]
    assert data.notes == ()


def test_group_zero_of_a_parquet_file_is_a_group(tmp_path, png_bytes):
    import datasets

    columns = {
        "image": [{"bytes": png_bytes(side=side), "path": None} for side in (9, 10)],
        "text": ["One", "Two"],
        "group": [0, 1],
    }
    datasets.Dataset.from_dict(columns).to_parquet(tmp_path / "data.parquet")
    assert [record.group for record in load_records(tmp_path).records] == ["0", "1"]


def test_half_an_emoji_becomes_a_replacement_character_and_a_complete_one_stays(
    tmp_path, draw_image
):
    draw_image(tmp_path / "a.png")
    (tmp_path / "data.jsonl").write_text(
        r'{"image": "a.png", "captions": ["cut \ud83d here", "whole \ud83d\ude00"]}'
    )
    assert load_records(tmp_path).records[0].captions == ("cut \ufffd here", "whole \U0001f600")


def test_half_an_emoji_in_a_name_id_or_group_is_replaced_too(tmp_path, png_bytes):
    image = base64.b64encode(png_bytes()).decode()
    line = (
        f'{{"image": {{"path": "\\ud83d.png", "bytes": "{image}"}}, "caption": "One",'
        ' "group": "\\ud83d", "site\\ud83d": ["\\ud83d"]'
    )
    (tmp_path / "data.jsonl").write_text(f'{line}}}\n{line}, "image_id": "\\ude00"}}')
    data = load_records(tmp_path, LoadOptions(keep_columns=True))
    records = data.records
    assert data.columns["\ufffd"] == {"site\ufffd": ["\ufffd"]}
    assert [(r.image_id, r.group) for r in records] == [("\ufffd.png", "\ufffd"), ("\ufffd",) * 2]
    # Ids are hashed, and names become names of files.
    assert len(take_fraction(assign_splits(records, fractions=(1, 0, 0)), 0.9, seed=1)) == 2
    assert write_dataset(records, tmp_path / "out", format="imagefolder") == []


@pytest.mark.parametrize("name", ["captions.csv", "annotations/captions.csv"])
def test_a_file_without_permission_is_named(tmp_path, draw_image, monkeypatch, name):
    draw_image(tmp_path / "a.png")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("no reader knows this")
    # Root may read everything.
    monkeypatch.setattr("os.access", lambda path, _mode: not str(path).endswith(".csv"))
    with pytest.raises(DataError, match=r"captions.csv cannot be read: no permission") as caught:
        load_records(tmp_path)
    assert f"chmod u+r {path}" in caught.value.fix
