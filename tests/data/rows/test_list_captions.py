"""Caption cells that hold a list or an object, written as text or not, in every format."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from captune.data import LoadOptions, check_data, load_records
from captune.errors import DataError

CELL = "['a red boat', \"the owner's dog\"]"
CAPTIONS = ("a red boat", "the owner's dog")


def write_csv(folder: Path, cell: str = CELL) -> None:
    (folder / "d.csv").write_text('image,captions\na.png,"' + cell.replace('"', '""') + '"\n')


def write_tsv(folder: Path, cell: Any = CELL) -> None:
    (folder / "d.tsv").write_text(f"image\tcaption\na.png\t{cell}\n")


def write_numpy_csv(folder: Path) -> None:
    cell = CELL.replace(", ", "\n ").replace('"', '""')
    (folder / "d.csv").write_text(f'image;captions\na.png;"{cell}"\n')


def write_jsonl(folder: Path, cell: Any = CELL) -> None:
    (folder / "d.jsonl").write_text(json.dumps({"image": "a.png", "captions": cell}))


def write_nested_jsonl(folder: Path, cell: Any = CELL) -> None:
    (folder / "d.json").write_text(json.dumps([{"image": "a.png", "captions": [cell]}]))


def write_imagefolder(folder: Path, cell: Any = CELL) -> None:
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": cell}))


def write_coco(folder: Path, cell: Any = CELL) -> None:
    images = [{"id": 1, "file_name": "a.png"}]
    annotations = [{"image_id": 1, "caption": cell}]
    text = json.dumps({"images": images, "annotations": annotations})
    (folder / "captions_train.json").write_text(text)


def write_sidecar(folder: Path, cell: Any = CELL) -> None:
    (folder / "a.txt").write_text(cell)


def write_parquet(folder: Path, cell: Any = CELL) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = {"bytes": (folder / "a.png").read_bytes(), "path": "a.png"}
    pq.write_table(pa.table({"image": [content], "caption": [cell]}), folder / "d.parquet")


def write_tar(folder: Path, cell: Any = CELL) -> None:
    with tarfile.open(folder / "d.tar", "w") as archive:
        archive.add(folder / "a.png", "a.png")
        member = tarfile.TarInfo("a.json")
        content = json.dumps({"caption": cell}).encode()
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


WRITERS = (
    *(write_csv, write_tsv, write_numpy_csv, write_jsonl, write_nested_jsonl, write_imagefolder),
    *(write_coco, write_sidecar, write_parquet, write_tar),
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_cell_that_holds_a_list_is_read_as_a_list_and_reported(tmp_path, draw_image, write):
    draw_image(tmp_path / "a.png")
    write(tmp_path)
    data = load_records(tmp_path)
    assert [record.captions for record in data.records] == [CAPTIONS]
    assert any(
        "1 caption cell with a list written as text, read as a list: 2 captions" in note
        for note in data.notes
    )


def test_an_empty_list_is_not_a_caption(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    draw_image(tmp_path / "b.png")
    (tmp_path / "d.csv").write_text("image,captions\na.png,[]\nb.png,One\n")
    data = load_records(tmp_path)
    assert [record.image_id for record in data.records] == ["b.png"]
    assert [image.reason for image in data.skipped] == ["no_caption"]


def test_white_space_that_is_folded_is_reported(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text('image,caption\na.png,"One  dog\non grass"\na.png, Two \n')
    data = load_records(tmp_path)
    assert data.records[0].captions == ("One dog on grass", "Two")
    assert "line breaks and runs of white space in 1 caption" in " ".join(data.notes)


OBJECTS = "[{'raw': 'a red boat', 'id': 1}, {'raw': \"the owner's dog\", 'id': 2}]"
TEXTS = (write_csv, write_tsv, write_jsonl, write_nested_jsonl, write_imagefolder, write_coco)
TEXTS = (*TEXTS, write_sidecar, write_parquet, write_tar)
VALUES = (write_jsonl, write_nested_jsonl, write_imagefolder, write_coco, write_tar)


@pytest.mark.parametrize("write", TEXTS, ids=lambda write: write.__name__)
def test_objects_written_as_text_are_read_by_their_usual_key(tmp_path, draw_image, write):
    draw_image(tmp_path / "a.png")
    write(tmp_path, OBJECTS)
    data = load_records(tmp_path)
    assert [record.captions for record in data.records] == [CAPTIONS]
    assert any("1 caption cell with a list written as text" in note for note in data.notes)


@pytest.mark.parametrize("cell", ["{'en': 'a red boat'}", "[1, 2]", '{"score": 0.5}'])
@pytest.mark.parametrize("write", TEXTS, ids=lambda write: write.__name__)
def test_a_value_without_a_caption_is_an_error_with_file_and_row(tmp_path, draw_image, write, cell):
    draw_image(tmp_path / "a.png")
    write(tmp_path, cell)
    with pytest.raises(DataError, match=r"a caption must be text.*\(written as text\)") as caught:
        load_records(tmp_path)
    assert PLACES[write.__name__] in caught.value.where
    assert "data.caption_column" in caught.value.fix


PLACES = {
    "write_csv": "d.csv, line 2, column 'captions'",
    "write_tsv": "d.tsv, line 2, column 'caption'",
    "write_jsonl": "d.jsonl, line 1, column 'captions'",
    "write_nested_jsonl": "d.json, record 0, column 'captions'",
    "write_imagefolder": "metadata.jsonl, line 1, column 'text'",
    "write_coco": "captions_train.json, image_id 1",
    "write_sidecar": "a.txt",
    "write_parquet": "d.parquet, row 0, column 'caption'",
    "write_tar": "d.tar:a.png, column 'caption'",
}


@pytest.mark.parametrize("value", [3, 0.5, True, {"en": "a red boat"}, [["x"], 4], [{"a": 1}]])
@pytest.mark.parametrize("write", VALUES, ids=lambda write: write.__name__)
def test_a_number_or_an_object_is_an_error_with_its_column(tmp_path, draw_image, write, value):
    draw_image(tmp_path / "a.png")
    write(tmp_path, value)
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path)
    assert "column 'caption" in caught.value.where or "column 'text'" in caught.value.where
    assert "data.caption_column" in caught.value.fix


@pytest.mark.parametrize("write", VALUES, ids=lambda write: write.__name__)
def test_nan_is_a_missing_caption(tmp_path, draw_image, write):
    draw_image(tmp_path / "a.png")
    write(tmp_path, ["a red boat", float("nan")])
    data = load_records(tmp_path)
    assert [record.captions for record in data.records] == [("a red boat",)]
    assert len(data.empty_captions) == 1


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ({"raw": "a red boat"}, ("a red boat",)),
        ([{"caption": "a red boat"}], ("a red boat",)),
        ([["a red boat"], ["a dog"]], ("a red boat", "a dog")),
        (b"a red boat", ("a red boat",)),
    ],
)
def test_typed_parquet_cells_are_read(tmp_path, draw_image, cell, captions):
    draw_image(tmp_path / "a.png")
    write_parquet(tmp_path, cell)
    data = load_records(tmp_path, LoadOptions(caption_column="caption"))
    assert [record.captions for record in data.records] == [captions]


@pytest.mark.parametrize("cell", [{"en": "a red boat"}, [{"score": 1.5}], 3, True, b"\xff\xd8"])
def test_other_typed_parquet_cells_are_an_error_with_row_and_column(tmp_path, draw_image, cell):
    draw_image(tmp_path / "a.png")
    write_parquet(tmp_path, cell)
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path, LoadOptions(caption_column="caption"))
    assert caught.value.where == f"{tmp_path / 'd.parquet'}, row 0, column 'caption'"


def test_a_saved_data_set_with_objects_reports_row_and_column(tmp_path, draw_image):
    import datasets

    draw_image(tmp_path / "a.png")
    rows = {"image": [str(tmp_path / "a.png")], "caption": ["{'en': 'a red boat'}"]}
    table = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path / "saved", LoadOptions(allow_outside=True))
    assert caught.value.where == f"{tmp_path / 'saved'}, row 0, column 'caption'"


def test_a_list_that_was_cut_is_used_unchanged_and_reported(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    write_csv(tmp_path, "['a red boat', 'a do")
    data = load_records(tmp_path)
    assert [record.captions for record in data.records] == [("['a red boat', 'a do",)]
    assert any("1 caption begins like a list or an object" in note for note in data.notes)
    assert any("d.csv, line 2" in note for note in data.notes)


@pytest.mark.parametrize("cell", ["42", "3.14", "-1e-5", "True", "nan"])
def test_a_number_in_a_table_is_listed_by_the_check(tmp_path, draw_image, cell):
    draw_image(tmp_path / "a.png")
    write_csv(tmp_path, cell)
    findings = check_data(load_records(tmp_path))
    assert [caption.caption for caption in findings.placeholder_captions] == [cell]
