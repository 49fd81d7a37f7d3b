"""Tables without a header, lists with named columns in a folder, and text that is not a table."""

from __future__ import annotations

import json

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


def captions_of(data):
    return {record.file_name: record.captions for record in data.records}


@pytest.fixture
def folder(tmp_path, draw_image):
    for name in "ab":
        draw_image(tmp_path / "images" / f"{name}.png", (ord(name), 0, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.tsv", "a.png\tA dog, a cat\nb.png\tTwo\n"),
        ("d.tsv", "A dog, a cat\ta.png\nTwo\tb.png\n"),
        ("d.csv", 'a.png,"A dog, a cat"\nb.png,Two\n'),
        ("d.csv", "a.png;A dog, a cat\nb.png;Two\n"),
        ("d.txt", "a.png|A dog, a cat\nb.png|Two\n"),
        ("d.csv", '7,a.png,"A dog, a cat",train\n8,b.png,Two,train\n'),
    ],
)
def test_a_first_row_that_names_an_image_is_data(folder, name, text):
    (folder / name).write_text(text)
    data = load_records(folder)
    assert data.format == "table"
    assert captions_of(data) == {"a.png": ("A dog, a cat",), "b.png": ("Two",)}
    assert any(f"{name} has no header" in note for note in data.notes)


def test_a_first_row_that_names_an_existing_file_without_extension_is_data(folder):
    (folder / "images" / "a.png").rename(folder / "images" / "a")
    (folder / "d.tsv").write_text("a\tOne dog\nb.png\tTwo\n")
    assert captions_of(load_records(folder)) == {"a": ("One dog",), "b.png": ("Two",)}


def test_columns_without_a_header_are_numbered(folder):
    (folder / "d.tsv").write_text("a.png\tbob\tA dog\nb.png\tann\tA cat\n")
    with pytest.raises(DataError, match="no caption column; the columns are: image, 2, 3"):
        load_records(folder)
    data = load_records(folder, LoadOptions(caption_column="3"))
    assert captions_of(data) == {"a.png": ("A dog",), "b.png": ("A cat",)}


def test_a_header_is_never_read_as_data(folder):
    (folder / "d.csv").write_text("image,caption\na.png,One\n")
    data = load_records(folder)
    assert captions_of(data) == {"a.png": ("One",)}
    assert data.notes == ()


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "tsv"])
def test_a_folder_uses_the_named_columns(folder, suffix):
    rows = [{"Bild": "a.png", "Satz": "One"}, {"Bild": "b.png", "Satz": "Two"}]
    between = "\t" if suffix == "tsv" else ","
    text = {
        "json": json.dumps(rows),
        "jsonl": "\n".join(map(json.dumps, rows)),
    }.get(suffix, "\n".join(between.join(pair) for pair in (rows[0], *map(dict.values, rows))))
    (folder / f"d.{suffix}").write_text(text)
    options = LoadOptions(image_column="Bild", caption_column="Satz")
    assert captions_of(load_records(folder, options)) == {"a.png": ("One",), "b.png": ("Two",)}


def test_one_named_column_is_enough_if_the_other_has_a_usual_name(folder):
    (folder / "d.json").write_text(json.dumps([{"image": "a.png", "Satz": "One"}]))
    data = load_records(folder, LoadOptions(caption_column="Satz"))
    assert captions_of(data) == {"a.png": ("One",)}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_one_column_for_image_and_caption_is_refused(folder, suffix):
    path = folder / f"data.{suffix}"
    if suffix == "csv":
        path.write_text("image,caption\na.png,One\n")
    elif suffix == "jsonl":
        path.write_text('{"image": "a.png", "caption": "One"}\n')
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"image": ["a.png"], "caption": ["One"]}), path)
    named = [LoadOptions(caption_column="image")]
    if suffix != "parquet":
        # There the only other text column is the caption.
        named.append(LoadOptions(image_column="caption"))
    for options in named:
        with pytest.raises(DataError, match="is used for both the image and the caption"):
            load_records(path, options)


def test_a_misspelled_column_of_a_folder_lists_the_columns(folder):
    (folder / "d.json").write_text(json.dumps([{"Bild": "a.png", "Satz": "One"}]))
    options = LoadOptions(image_column="Bidl", caption_column="Satz")
    with pytest.raises(DataError, match="no column 'Bidl' for the image; the columns are: Bild"):
        load_records(folder, options)


@pytest.mark.parametrize(
    ("text", "between"),
    [
        ("a.png a dog\nb.png a cat\n", "a space"),
        ("a b.png  : a dog\n", "':'"),
        ("a.png - a dog\nb.png - a cat\n", "'-'"),
        ("a.png => a dog\n", "'=>'"),
        ('"a.png" "a dog"\n', "a space"),
    ],
)
def test_lines_with_a_name_and_a_caption_give_the_advice_to_use_a_tab(folder, text, between):
    (folder / "lines.txt").write_text(text)
    with pytest.raises(DataError, match="resembles a table without a header") as caught:
        load_records(folder)
    assert f"with {between} between the image and the caption" in caught.value.what
    assert "put a tab there instead and name the file lines.tsv" in caught.value.fix
    assert str(caught.value).count("\n") == 2


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("d.csv", "bild,caption\nx,One\n", "--image-column"),
        ("d.csv", "image,satz\na.png,One\n", "--caption-column"),
    ],
)
def test_the_error_names_the_nearest_layout_and_the_one_thing_to_change(folder, name, text, advice):
    (folder / name).write_text(text)
    with pytest.raises(DataError, match="resembles") as caught:
        load_records(folder)
    assert advice in caught.value.fix


def test_a_data_set_in_a_subfolder_is_named(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "d.csv").write_text("image,caption\na.png,One\n")
    with pytest.raises(DataError) as caught:
        load_records(folder)
    assert f"{folder / 'inner'} has the format table" in caught.value.fix


def test_ids_that_a_table_turned_into_floats_are_whole_numbers(tmp_path, draw_image):
    lines = []
    for name, image_id in (("a.png", 7.0), ("b.png", None), ("c.png", 7.5)):
        draw_image(tmp_path / name)
        lines.append(json.dumps({"image": name, "caption": "A", "image_id": image_id}))
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    records = load_records(tmp_path).records
    assert [record.image_id for record in records] == ["7", "b.png", "7.5"]


@pytest.mark.parametrize(
    "text",
    [
        'sep=;\nimage;caption\na.png;"One; a dog"\nb.png;"Two, a cat"\n',
        '"sep=,"\r\nimage,caption\r\na.png,"One; a dog"\r\nb.png,"Two, a cat"\r\n',
        '\n \nimage,caption\na.png,"One; a dog"\nb.png,"Two, a cat"\n',
        'image, caption\na.png, "One; a dog"\nb.png, "Two, a cat"\n',
        'image,caption\na.png,"One; a dog",\nb.png,"Two, a cat",,\n',
    ],
    ids=["separator", "quoted separator", "blank lines", "spaces before quotes", "empty cells"],
)
def test_tables_of_spreadsheets_are_read(folder, text):
    (folder / "d.csv").write_text(text)
    assert captions_of(load_records(folder)) == {
        "a.png": ("One; a dog",),
        "b.png": ("Two, a cat",),
    }


def test_quotes_inside_a_caption_after_a_space_stay(folder):
    (folder / "d.csv").write_text('image, caption\na.png, "Stop" on a sign\nb.png, Two\n')
    data = load_records(folder)
    assert captions_of(data) == {"a.png": ('"Stop" on a sign',), "b.png": ("Two",)}


def test_lines_are_counted_from_the_beginning_of_the_file(folder):
    (folder / "d.csv").write_text("sep=,\n\nimage,caption\na.png,One\nb.png,Two,3\n")
    with pytest.raises(DataError, match=r"3 cells under 2 columns(?s:.*)d\.csv, line 5"):
        load_records(folder)
