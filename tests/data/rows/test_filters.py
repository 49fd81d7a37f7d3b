"""Rows kept by their columns, in every format that has columns."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from captune.data import LoadOptions, load_options, load_records
from captune.data.rows.filters import RowFilter
from captune.errors import DataError
from captune.recipe import dump_recipe, load_recipe, parse_recipe
from captune.recipe.schema import DataConfig


def keeps(value, *wanted):
    return RowFilter({"c": wanted}).keeps("a.png", {"c": value}, split=None)


@pytest.mark.parametrize(
    ("value", "wanted", "is_kept"),
    [
        (0, "0", True),
        (0.0, "0", True),
        ("0", "0.0", True),
        (1, "0", False),
        (False, "0", True),
        (False, "false", True),
        (True, "true", True),
        (True, "0", False),
        (" Rest ", "rest", True),
        ("Rest", "Unrest", False),
        ("07010", "07010", True),
        (["Mogi", "Dyke"], "Dyke", True),
        (["Mogi"], "Dyke", False),
        ([], "Dyke", False),
        (None, "", True),
        (None, "0", False),
        ("", "0", False),
        ("nan", "0", False),
        ("1_0", "10", False),
    ],
)
def test_a_row_is_kept_when_its_value_equals_the_wanted_one(value, wanted, is_kept):
    assert keeps(value, wanted) is is_kept


def test_any_of_several_values_is_enough():
    assert keeps("b", "a", "b")
    assert not keeps("c", "a", "b")


ROWS = [
    {"file_name": "a.png", "text": "A", "quality": 3, "ok": 1},
    {"file_name": "b.png", "text": "B", "quality": 3, "ok": 0},
    {"file_name": "c.png", "text": "C", "quality": 1, "ok": 1},
]


def write_rows(folder, draw_image, format):
    for row in ROWS:
        draw_image(folder / row["file_name"])
    if format == "table":
        lines = [",".join(map(str, values)) for values in (ROWS[0], *(r.values() for r in ROWS))]
        (folder / "d.csv").write_text("\n".join(lines))
    else:
        name = {"imagefolder": "metadata.jsonl", "jsonl": "d.jsonl"}[format]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


@pytest.mark.parametrize("format", ["table", "imagefolder", "jsonl"])
def test_every_format_with_columns_is_filtered(tmp_path, draw_image, format):
    folder = write_rows(tmp_path / format, draw_image, format)
    options = LoadOptions(filters={"quality": ("2", "3"), "ok": ("1",)})
    data = load_records(folder, options)
    assert data.format == format
    assert [record.file_name for record in data.records] == ["a.png"]
    assert data.skipped == ()
    assert data.notes == ("filters (quality: 2 or 3, ok: 1) skipped 2 images",)


@pytest.mark.slow
def test_hub_sets_are_filtered_by_columns_that_are_not_read_otherwise(tmp_path, png_bytes):
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": png_bytes((n, 0, 0)), "path": None} for n in range(3)]
    values = {"image": images, "text": ["A", "B", "C"], "source": ["x", "y", "x"]}
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string")}
        | {"source": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(values, features=features).save_to_disk(str(tmp_path / "set"))
    data = load_records(tmp_path / "set", LoadOptions(filters={"source": ("x",)}))
    assert [record.captions for record in data.records] == [("A",), ("C",)]
    with pytest.raises(DataError, match=r"no column 'sauce' .*\(did you mean 'source'\?\)"):
        load_records(tmp_path / "set", LoadOptions(filters={"sauce": ("x",)}))


def test_a_table_may_lose_one_caption_of_an_image_and_keep_another(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("image,caption,lang\na.png,Hund,de\na.png,Dog,en\n")
    data = load_records(tmp_path, LoadOptions(filters={"lang": ("en",)}))
    assert [record.captions for record in data.records] == [("Dog",)]
    assert data.notes == ()


def test_a_limit_counts_the_images_that_pass(tmp_path, draw_image):
    folder = write_rows(tmp_path, draw_image, "jsonl")
    data = load_records(folder, LoadOptions(filters={"ok": ("1",)}, limit=2))
    assert [record.file_name for record in data.records] == ["a.png", "c.png"]


def test_a_missing_column_is_named_with_the_nearest_one(tmp_path, draw_image):
    folder = write_rows(tmp_path, draw_image, "table")
    with pytest.raises(DataError, match=r"'qualtiy' .*\(did you mean 'quality'\?\)") as caught:
        load_records(folder, LoadOptions(filters={"qualtiy": ("3",)}))
    assert caught.value.where == "data.filters.qualtiy"
    assert "file_name, text, quality, ok" in caught.value.what


def test_filtering_a_format_without_columns_is_an_error(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("A")
    with pytest.raises(DataError, match="the format sidecar has no columns to filter by"):
        load_records(tmp_path, LoadOptions(filters={"ok": ("1",)}))
    with pytest.raises(DataError, match="built-in shapes have no columns"):
        load_records("shapes:4", LoadOptions(filters={"ok": ("1",)}))


def test_filters_that_keep_no_image_show_the_existing_values(tmp_path, draw_image):
    folder = write_rows(tmp_path, draw_image, "jsonl")
    with pytest.raises(
        DataError, match=r"no image passes .*: 3 images skipped.*: quality: 9"
    ) as caught:
        load_records(folder, LoadOptions(filters={"quality": ("9",)}))
    assert caught.value.where == "quality is '3' (2 rows), '1' (1 row)"
    assert "data.filters" in caught.value.fix


def test_a_split_that_the_filters_empty_is_an_error(tmp_path, draw_image):
    for split, ok in (("train", 1), ("val", 1), ("test", 0)):
        draw_image(tmp_path / f"{split}.png")
        (tmp_path / f"{split}.csv").write_text(f"image,caption,ok\n{split}.png,x,{ok}\n")
    with pytest.raises(DataError, match="no image of test passes the filters: 1 image"):
        load_records(tmp_path, LoadOptions(filters={"ok": ("1",)}))


def test_splits_hidden_by_a_limit_are_not_blamed_on_the_filters(tmp_path, draw_image):
    lines = []
    for number, (split, ok) in enumerate((("test", 0), ("train", 1), ("train", 1), ("test", 1))):
        draw_image(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,x,{split},{ok}")
    (tmp_path / "d.csv").write_text("image,caption,split,ok\n" + "\n".join(lines))
    filters = {"ok": "1"}
    assert len(load_records(tmp_path, LoadOptions(filters=filters)).records) == 3
    assert len(load_records(tmp_path, LoadOptions(filters=filters, limit=2)).records) == 2


def test_filters_of_a_recipe_survive_being_written_and_read_again():
    recipe = load_recipe(
        "demo", ["data.filters.corrupted=0", "data.filters.frameID=07010", "data.filters.phase=a,b"]
    )
    expected = {"corrupted": ("0",), "frameID": ("07010",), "phase": ("a", "b")}
    assert recipe.data.filters == expected
    assert parse_recipe(dump_recipe(recipe), name="saved").data.filters == expected
    text = "data:\n  filters: {corrupted: 0, ok: true, phase: [Rest, 07]}\n"
    filters = parse_recipe(text, name="mine").data.filters
    assert filters == {"corrupted": ("0",), "ok": ("true",), "phase": ("Rest", "07")}


@pytest.mark.parametrize("value", [[], [["a"]], {"a": 1}, None])
def test_a_filter_of_a_wrong_type_is_refused(value):
    with pytest.raises(ValidationError):
        DataConfig(filters={"ok": value})


def test_a_recipes_data_section_sets_how_data_is_read(tmp_path):
    config = DataConfig(
        path="x",
        filters={"corrupted": 0, "phase": ["Rest", "Unrest"], "ok": True, "frame": "07010"},
        image_root=str(tmp_path),
        streaming=True,
        split_files={"test": "t.txt"},
    )
    options = load_options(config)
    assert options.filters == {
        "corrupted": ("0",),
        "phase": ("Rest", "Unrest"),
        "ok": ("true",),
        "frame": ("07010",),
    }
    assert (options.image_root, options.streaming) == (tmp_path, True)
    assert options.split_files == {"test": "t.txt"}
