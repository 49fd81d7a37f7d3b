"""Data that would fill the memory or never end is refused, with the limit in the error."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile

import pytest

from captune.data import LoadOptions, is_shapes_id, load_records
from captune.data.archives.parquet import ParquetLimits
from captune.data.readers import hub
from captune.data.rows import text
from captune.errors import DataError


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "captions_train.json", "metadata.jsonl"])
def test_a_number_of_thousands_of_digits_is_an_error(tmp_path, draw_image, name):
    draw_image(tmp_path / "a.png")
    digits = "9" * 5000
    row = f'{{"image": "a.png", "file_name": "a.png", "caption": "x", "image_id": {digits}}}'
    coco = f'{{"images": [{{"id": {digits}, "file_name": "a.png"}}], "annotations": [{row}]}}'
    content = {"d.json": f"[{row}]", "captions_train.json": coco}.get(name, row)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="a number with too many digits"):
        load_records(tmp_path)


def test_a_number_of_thousands_of_digits_in_a_tar_is_an_error(tmp_path, draw_image):
    path = draw_image(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.json").write_text(f'{{"caption": "x", "id": {"9" * 5000}}}')
    with tarfile.open(tmp_path / "d.tar", "w") as archive:
        archive.add(path, "a.png")
        archive.add(path.with_suffix(".json"), "a.json")
    with pytest.raises(DataError, match="a number with too many digits"):
        load_records(tmp_path / "d.tar")


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_a_column_numbered_by_thousands_of_digits_is_not_a_caption(tmp_path, draw_image, name):
    draw_image(tmp_path / "a.png")
    column = "caption_" + "9" * 5000
    row = json.dumps({"image": "a.png", column: "x"})
    (tmp_path / name).write_text(row if name == "d.jsonl" else f"image,{column}\na.png,x\n")
    with pytest.raises(DataError):
        load_records(tmp_path)


@pytest.mark.parametrize("path", ["kaggle://a/b/versions/" + "9" * 5000, "kaggle://a/b"])
def test_a_version_of_thousands_of_digits_is_refused(path):
    revision = None if "versions" in path else "9" * 5000
    with pytest.raises(DataError, match="is not a Kaggle data set"):
        load_records(path, LoadOptions(revision=revision))


def test_an_id_of_thousands_of_digits_is_not_in_the_built_in_set():
    assert is_shapes_id("shapes-0-12")
    assert not is_shapes_id("shapes-0-" + "9" * 5000)


@pytest.mark.parametrize("path", ["shapes:" + "9" * 5000, "shapes:99999999999999"])
def test_a_count_of_shapes_has_a_limit(path):
    with pytest.raises(DataError, match="is not a number of images"):
        load_records(path)


@pytest.mark.parametrize("depth", [50, 400, 900, 100_000])
def test_deeply_nested_captions_are_an_error(tmp_path, draw_image, depth):
    draw_image(tmp_path / "a.png")
    nested = "[" * depth + '"x"' + "]" * depth
    (tmp_path / "d.jsonl").write_text(f'{{"image": "a.png", "caption": {nested}}}')
    with pytest.raises(DataError, match="nested"):
        load_records(tmp_path, LoadOptions(format="jsonl"))


@pytest.mark.parametrize(
    "name", ["metadata.jsonl", "d.csv", "d.json", "a.txt", "d.tar", "train.parquet", "d.zip"]
)
def test_a_pipe_in_place_of_a_file_is_named_and_never_opened(tmp_path, draw_image, name):
    draw_image(tmp_path / "a.png")
    os.mkfifo(tmp_path / name)
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=rf"{name} is a pipe"):
            load_records(place)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_a_line_over_the_limit_is_refused(tmp_path, draw_image, monkeypatch, name):
    draw_image(tmp_path / "a.png")
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 2**20)
    row = json.dumps({"image": "a.png", "caption": "x"})
    long = "x" * 3 * 2**20
    content = f"image,caption\na.png,One\na.png,{long}" if name == "d.csv" else f"{row}\n{long}"
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="a line of more than 1 MiB"):
        load_records(tmp_path)


def test_a_json_file_may_be_one_line_of_any_length(tmp_path, draw_image, monkeypatch):
    # As COCO's captions_train2017.json (90 MB) and Karpathy's dataset_coco.json (140 MB) are.
    draw_image(tmp_path / "a.png")
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 2**20)
    captions = [f"Caption {number}" for number in range(2**17)]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "caption": caption} for caption in captions],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content))
    data = load_records(tmp_path)
    assert (data.format, len(data.records[0].captions)) == ("coco", 2**17)


def test_a_parquet_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("image", pa.binary()), ("caption", pa.string())])
    path = tmp_path / "train.parquet"
    monkeypatch.setattr(hub, "LIMITS", ParquetLimits(always_allowed=2**24))
    zeros = b"\0" * (4 * 2**20)
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
        for number in range(20):
            writer.write_table(pa.table([[zeros], [str(number)]], schema=schema))
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="more than 1000 times its size"):
        load_records(tmp_path)


@pytest.mark.slow
def test_a_parquet_file_of_one_value_many_times_is_read_in_small_batches(tmp_path, png_bytes):
    import pyarrow as pa
    import pyarrow.parquet as pq

    # 1 GB in total, in a dictionary of one value.
    image = png_bytes() + b"\0" * 2**20
    table = pa.table({"image": pa.array([image]).dictionary_encode().take([0] * 1000),
                      "caption": [f"Caption {n}" for n in range(1000)]})  # fmt: skip
    pq.write_table(table, tmp_path / "train.parquet", compression="zstd")
    data = load_records(tmp_path)
    assert [len(record.captions) for record in data.records] == [1000]


def test_a_tar_with_a_giant_header_is_refused(tmp_path):
    member = tarfile.TarInfo("header")
    member.type, member.size = tarfile.XHDTYPE, 6 * 2**30
    with gzip.open(tmp_path / "d.tar.gz", "wb") as file:
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.write(b"\0" * 2**20)
    with pytest.raises(DataError, match="a header of 6,442,450,944 bytes"):
        load_records(tmp_path / "d.tar.gz")


def test_a_zip_that_unpacks_to_gigabytes_is_refused(tmp_path, draw_image):
    draw_image(tmp_path / "1.png")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.json", json.dumps({"uniqueID": 1, "frameID": 1, "caption": "x"}))
        for number in range(20):
            info = zipfile.ZipInfo(f"{number}.txt")
            archive.writestr(info, b"")
            info.file_size = 64 * 2**20
    (tmp_path / "annotations.zip").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="more than 200 times its size"):
        load_records(tmp_path, LoadOptions(format="hephaestus"))
