"""Files that no reader takes as they are, and files that are read together or not at all."""

from __future__ import annotations

import json

import pytest

from captune.data import load_records
from captune.errors import DataError

RECORDS = [{"image": "a.png", "caption": "One"}, {"image": "b.png", "caption": "Two"}]


@pytest.fixture
def folder(tmp_path, draw_image):
    for name in "ab":
        draw_image(tmp_path / f"{name}.png", (ord(name), 0, 0))
    return tmp_path


def test_a_json_file_of_lines_is_read(folder):
    (folder / "d.json").write_text("\n".join(map(json.dumps, RECORDS)))
    data = load_records(folder)
    assert [record.captions for record in data.records] == [("One",), ("Two",)]


def test_a_broken_line_of_a_json_file_is_named(folder):
    (folder / "d.json").write_text("\n".join([*map(json.dumps, RECORDS), '{"image": ']))
    with pytest.raises(DataError, match=r"not JSON(?s:.*)d\.json, line 3"):
        load_records(folder)


@pytest.mark.parametrize(
    ("name", "kind", "fix"),
    [
        ("d.xlsx", "d.xlsx is a spreadsheet", "save it as CSV"),
        ("d.csv.gz", "d.csv.gz is packed", "unpack it"),
        ("d.pkl", "d.pkl is a table of Python", "as Parquet or CSV"),
        ("d.yaml", "d.yaml is a text file of another kind", "save it as CSV"),
    ],
)
def test_the_advice_fits_a_file_that_is_not_read(folder, name, kind, fix):
    (folder / name).write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError) as error:
        load_records(folder)
    assert kind in error.value.what
    assert fix in error.value.fix


@pytest.mark.parametrize(
    "value",
    [
        {"train": RECORDS, "test": RECORDS},
        {"data": RECORDS},
        {"image": {"0": "a.png"}, "caption": {"0": "One"}},
        {"columns": ["image", "caption"], "data": [["a.png", "One"]]},
    ],
    ids=["splits", "one list", "pandas", "pandas split"],
)
def test_a_json_object_with_records_in_it_is_explained(folder, value):
    (folder / "d.json").write_text(json.dumps(value))
    with pytest.raises(DataError) as error:
        load_records(folder)
    assert f"d.json is an object with the keys {', '.join(value)}" in error.value.what
    assert 'orient="records"' in error.value.fix


def test_files_whose_names_give_no_splits_are_listed(folder):
    (folder / "captions.csv").write_text("image,caption\na.png,One\n")
    (folder / "captions (1).csv").write_text("image,caption\nb.png,Two\n")
    assert load_records(folder).notes == (
        "2 files are read together, and their names give no splits: captions (1).csv, captions.csv",
    )


def test_numbered_files_need_no_note(folder):
    (folder / "d-00000.csv").write_text("image,caption\na.png,One\n")
    (folder / "d-00001.csv").write_text("image,caption\nb.png,Two\n")
    assert load_records(folder).notes == ()


def test_a_table_beside_files_of_another_format_is_named(folder):
    (folder / "test.jsonl").write_text(json.dumps(RECORDS[0]))
    (folder / "train.csv").write_text("image,caption\nb.png,Two\n")
    notes = load_records(folder).notes
    assert "not read, because the format is jsonl: train.csv (to read it: --format table)" in notes
