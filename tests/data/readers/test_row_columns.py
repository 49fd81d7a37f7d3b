"""What rows name themselves, in every format: their split, further captions, numbers as names."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError

NAMES = ("train", "train", "validation", "test")


@pytest.fixture
def four(png_bytes):
    return [png_bytes((n, 0, 0)) for n in range(4)]


def cells(images):
    return [{"bytes": image, "path": None} for image in images]


def write_tar(path, images, texts):
    with tarfile.open(path, "w") as tar:
        for number, (image, text) in enumerate(zip(images, texts, strict=True)):
            for suffix, content in (("png", image), ("json", json.dumps(text).encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("column", ["split", "Subset", "partition", "Data Split"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "test-00000.parquet", "a.tar"])
def test_a_column_gives_the_splits_in_every_format(tmp_path, four, name, column):
    path = tmp_path / name
    if path.suffix in (".csv", ".jsonl"):
        for number, image in enumerate(four):
            (tmp_path / f"{number}.png").write_bytes(image)
    rows = [{"image": f"{n}.png", "caption": "One", column: NAMES[n]} for n in range(4)]
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".tar":
        write_tar(path, four, [{key: row[key] for key in ("caption", column)} for row in rows])
    else:
        columns = {"image": cells(four), "caption": ["One"] * 4, column: list(NAMES)}
        pq.write_table(pa.table(columns), path)
    data = load_records(tmp_path)
    assert [record.split for record in data.records] == ["train", "train", "val", "test"]
    assert data.notes == ()


def test_files_of_several_splits_take_precedence_over_a_column(tmp_path, four):
    for number, name in enumerate(("train", "test")):
        images = cells(four[2 * number : 2 * number + 2])
        columns = {"image": images, "caption": ["a", "b"], "split": ["train", "train"]}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    splits = sorted(str(record.split) for record in load_records(tmp_path).records)
    assert splits == ["test", "test", "train", "train"]


@pytest.mark.parametrize(
    "columns", [("caption", "caption_2", "caption_3"), ("Caption", "Caption.1", "Caption.2")]
)
def test_numbered_captions_belong_to_a_first_without_a_number(tmp_path, draw_image, columns):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text(f"image,{','.join(columns)}\na.png,One,Two,Three\n")
    assert load_records(tmp_path).records[0].captions == ("One", "Two", "Three")
    only = load_records(tmp_path, LoadOptions(caption_column=columns[0]))
    assert only.records[0].captions == ("One",)


def test_numbers_are_names_without_an_ending(tmp_path, draw_image):
    for number in (7, 8):
        draw_image(tmp_path / f"{number}.png", (number, 0, 0))
    table = pa.table({"image": [7, 8], "caption": ["One", "Two"]})
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "d.parquet")
    (tmp_path / "d.jsonl").write_text('{"image": 7.0, "text": "One"}\n{"image": 8, "text": "Two"}')
    for place in (tmp_path, tmp_path / "set"):
        data = load_records(place, LoadOptions(image_root=tmp_path))
        assert [record.file_name for record in data.records] == ["7", "8"]


def test_rows_that_name_no_image_are_listed_by_their_line(tmp_path, draw_image):
    draw_image(tmp_path / "a.png")
    (tmp_path / "d.csv").write_text("image,caption\na.png,One\n,Two\n,Three\n")
    (tmp_path / "set").mkdir()
    lines = [{"image": "a.png", "text": "One"}, {"image": None, "text": "Two"}]
    (tmp_path / "set" / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = load_records(tmp_path)
    assert [image.file.rpartition("/")[2] for image in data.skipped] == [
        "d.csv, line 3",
        "d.csv, line 4",
    ]
    assert {image.detail for image in data.skipped} == {"no image is named"}
    other = load_records(tmp_path / "set", LoadOptions(image_root=tmp_path))
    assert [image.file.rpartition("/")[2] for image in other.skipped] == ["d.jsonl, line 2"]


def test_a_parquet_file_with_other_columns_is_named(tmp_path, four):
    captions = {"image": cells(four), "caption": ["One"] * 4}
    pq.write_table(pa.table(captions), tmp_path / "captions.parquet")
    pq.write_table(pa.table({"embedding": [[0.5]]}), tmp_path / "embeddings.parquet")
    with pytest.raises(DataError, match=r"no column 'image'.*\n.*embeddings\.parquet"):
        load_records(tmp_path)


def test_a_list_of_one_image_is_that_image(tmp_path, four, draw_image):
    table = pa.table({"image": [[cell] for cell in cells(four)], "caption": ["One"] * 4})
    pq.write_table(table, tmp_path / "d.parquet")
    assert [record.image for record in load_records(tmp_path).records] == four


def test_views_of_bytes_and_text_are_read(tmp_path, four):
    columns = {
        "photo": pa.array(four, pa.binary_view()),
        "caption": pa.array(["One"] * 4, pa.string_view()),
    }
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    assert [record.image for record in load_records(tmp_path).records] == four
