"""Parquet files with damaged pages: each is read, or raises an error that names the file."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captune.data import LoadOptions, load_records
from captune.data.archives.arrow_process import ArrowProcess
from captune.data.archives.arrow_sources import ParquetSource
from captune.data.archives.parquet import ParquetLimits
from captune.errors import DataError
from support.soak import FIRST_SEED, rounds, soak

WRITERS: tuple[dict[str, object], ...] = (
    {"compression": "none", "use_dictionary": False},
    {"compression": "none", "use_dictionary": True},
    {"compression": "snappy", "data_page_version": "2.0"},
    {"compression": "zstd", "data_page_size": 64},
    {"compression": "gzip", "column_encoding": "DELTA_LENGTH_BYTE_ARRAY", "use_dictionary": False},
    {"compression": "lz4", "row_group_size": 3},
)

VALUES = (b"\xff", b"\0", b"\x7f", b"\x80", b"\xff\xff\xff\xff\x0f", b"\xfe\xff")


def write(path: Path, png: bytes, **settings: object) -> None:
    images = pa.array([png + bytes([n]) for n in range(12)])
    columns = {"image": images, "caption": pa.array([f"Dog number {n}" for n in range(12)])}
    if "column_encoding" not in settings:
        columns["labels"] = pa.array([[str(n)] * (n % 3) for n in range(12)])
    pq.write_table(pa.table(columns), path, **settings)


def damage(content: bytes, draw: random.Random) -> bytes:
    """Return the file with some bytes of its pages or page headers changed."""
    length = int.from_bytes(content[-8:-4], "little")
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 30))):
        at = draw.randrange(4, len(content) - 8 - length)
        value = draw.choice(
            (b"\xff", b"\0", b"\x7f", b"\x80", b"\xff\xff\xff\xff\x0f", b"\xfe\xff")
        )
        value = value if draw.random() < 0.6 else bytes([draw.randrange(256)])
        data[at : at + len(value)] = value
    return bytes(data[: len(content)])


@pytest.mark.slow
@soak
def test_damaged_pages_are_read_or_raise_an_error_that_names_the_file(tmp_path, png_bytes):
    draw = random.Random(7 + FIRST_SEED)
    path = tmp_path / "train.parquet"
    for number in rounds(12, full=1200):
        write(path, png_bytes(), **WRITERS[number % len(WRITERS)])
        path.write_bytes(damage(path.read_bytes(), draw))
        try:
            load_records(path, LoadOptions(keep_columns=True))
        except DataError as error:
            assert str(path) in f"{error.what} {error.where}"


@pytest.mark.parametrize("seconds", [0, 0.5], ids=["at the request", "before it"])
def test_a_crash_while_rows_are_read_names_the_file(tmp_path, png_bytes, seconds):
    path = tmp_path / "train.parquet"
    write(path, png_bytes())
    with ArrowProcess(ParquetSource({"": [path]}, ParquetLimits())) as process:
        part = process.open_parts()[""]
        os.kill(process.pid, signal.SIGABRT)
        time.sleep(seconds)
        with pytest.raises(DataError) as caught:
            list(part)
    assert str(path) in caught.value.what
    assert "SIGABRT" in caught.value.what
    assert caught.value.fix == "fetch it again"


def test_values_that_unpack_to_more_than_is_allowed_are_refused(tmp_path, png_bytes):
    path = tmp_path / "train.parquet"
    image = png_bytes() + bytes(2**20)
    table = pa.table({"image": pa.array([image]).dictionary_encode().take([0] * 100),
                      "caption": [f"Caption {n}" for n in range(100)]})  # fmt: skip
    pq.write_table(table, path, compression="zstd")
    limits = ParquetLimits(always_allowed=2**24)
    with ArrowProcess(ParquetSource({"": [path]}, limits)) as process:
        part = process.open_parts()[""]
        with pytest.raises(DataError, match=r"the values of .* take more than 16,777,216 bytes"):
            list(part)


@pytest.mark.slow
def test_millions_of_null_captions_in_a_few_bytes_are_refused(tmp_path, png_bytes):
    path = tmp_path / "train.parquet"
    captions = pa.array([None] * 30_000_000, pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, len(captions)], pa.int32()), captions)
    pq.write_table(pa.table({"image": [png_bytes()], "captions": lists}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="20,000,000 values are read at once"):
        load_records(path)


def test_rows_larger_than_the_shared_memory_are_read(tmp_path, png_bytes):
    path = tmp_path / "train.parquet"
    image = png_bytes() + bytes(40 * 2**20)
    pq.write_table(pa.table({"image": [image, png_bytes()], "caption": ["a", "b"]}), path)
    records = load_records(path).records
    assert [record.image for record in records] == [image, png_bytes()]


def test_a_saved_set_with_a_damaged_arrow_file_names_the_folder(tmp_path, png_bytes):
    import datasets

    rows = {"image": [png_bytes()] * 3, "caption": ["a", "b", "c"]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "set"))
    file = next((tmp_path / "set").glob("*.arrow"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot load the saved data set") as caught:
        load_records(tmp_path / "set")
    assert str(tmp_path / "set") in caught.value.what
