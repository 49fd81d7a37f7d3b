"""Caption cells that hold a list written as text, in every format that has cells."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from captune.data import load_records

CELL = "['a red boat', \"the owner's dog\"]"
CAPTIONS = ("a red boat", "the owner's dog")


def write_csv(folder: Path) -> None:
    (folder / "d.csv").write_text('image,captions\na.png,"' + CELL.replace('"', '""') + '"\n')


def write_tsv(folder: Path) -> None:
    (folder / "d.tsv").write_text(f"image\tcaption\na.png\t{CELL}\n")


def write_numpy_csv(folder: Path) -> None:
    cell = CELL.replace(", ", "\n ").replace('"', '""')
    (folder / "d.csv").write_text(f'image;captions\na.png;"{cell}"\n')


def write_jsonl(folder: Path) -> None:
    (folder / "d.jsonl").write_text(json.dumps({"image": "a.png", "captions": CELL}))


def write_nested_jsonl(folder: Path) -> None:
    (folder / "d.json").write_text(json.dumps([{"image": "a.png", "captions": [CELL]}]))


def write_imagefolder(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": CELL}))


def write_coco(folder: Path) -> None:
    images = [{"id": 1, "file_name": "a.png"}]
    annotations = [{"image_id": 1, "caption": CELL}]
    text = json.dumps({"images": images, "annotations": annotations})
    (folder / "captions_train.json").write_text(text)


def write_sidecar(folder: Path) -> None:
    (folder / "a.txt").write_text(CELL)


def write_parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = {"bytes": (folder / "a.png").read_bytes(), "path": "a.png"}
    pq.write_table(pa.table({"image": [content], "caption": [CELL]}), folder / "d.parquet")


def write_tar(folder: Path) -> None:
    with tarfile.open(folder / "d.tar", "w") as archive:
        archive.add(folder / "a.png", "a.png")
        member = tarfile.TarInfo("a.json")
        content = json.dumps({"caption": CELL}).encode()
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
