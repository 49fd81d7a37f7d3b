"""Data sets read through `datasets`: saved folders, Parquet, streaming, and hub ids offline."""

from __future__ import annotations

import pytest

from captune.data import LoadOptions, decode_image, load_records
from captune.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def make_set(images, captions, **columns):
    features = {"image": datasets.Image(), "text": datasets.Value("string")}
    if isinstance(captions[0], list):
        features["text"] = datasets.List(datasets.Value("string"))
    data = {"image": [{"bytes": image, "path": None} for image in images], "text": captions}
    features |= {name: datasets.Value("string") for name in columns}
    return datasets.Dataset.from_dict({**data, **columns}, features=datasets.Features(features))


@pytest.fixture
def four(png_bytes):
    return [png_bytes((n, 0, 0)) for n in range(4)]


def test_a_saved_data_set_keeps_images_encoded(tmp_path, four):
    make_set(four, ["a", "b", "c", "d"]).save_to_disk(str(tmp_path / "set"))
    data = load_records(tmp_path / "set")
    assert data.format == "saved"
    assert [record.captions for record in data.records] == [("a",), ("b",), ("c",), ("d",)]
    assert [record.image for record in data.records] == four
    assert len({record.image_id for record in data.records}) == 4


def test_saved_splits_are_kept_and_unknown_ones_are_reported(tmp_path, four):
    parts = {
        "train": make_set(four[:1], ["a"]),
        "validation": make_set(four[1:2], ["b"]),
        "test": make_set(four[2:3], ["c"]),
        "extra": make_set(four[3:], ["d"]),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    data = load_records(tmp_path / "set")
    assert sorted((record.captions[0], record.split) for record in data.records[:3]) == [
        ("a", "train"),
        ("b", "val"),
        ("c", "test"),
    ]
    assert data.records[3].split is None
    assert any("'extra' is not train, val or test" in note for note in data.notes)


@pytest.mark.slow
def test_one_caption_per_row_and_one_list_per_row_give_the_same_records(tmp_path, four):
    rows = make_set([four[0], four[1], four[0]], ["a", "b", "A"])
    lists = make_set(four[:2], [["a", "A"], ["b"]])
    rows.save_to_disk(str(tmp_path / "rows"))
    lists.save_to_disk(str(tmp_path / "lists"))
    first, second = (load_records(tmp_path / name).records for name in ("rows", "lists"))
    assert first == second
    assert [record.captions for record in first] == [("a", "A"), ("b",)]


def test_sentences_as_objects_with_raw_text_are_read(tmp_path, four):
    data = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": four[0], "path": None}],
            "sentences": [[{"raw": "A b", "sentid": 1}, {"raw": "C", "sentid": 2}]],
        },
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "sentences": [{"raw": datasets.Value("string"), "sentid": datasets.Value("int64")}],
            }
        ),
    )
    data.save_to_disk(str(tmp_path / "set"))
    assert load_records(tmp_path / "set").records[0].captions == ("A b", "C")


def test_ids_and_groups_of_the_set_are_used(tmp_path, four):
    data = make_set(four[:2], ["a", "b"], image_id=["x", "y"], group=["g", "h"])
    data.save_to_disk(str(tmp_path / "set"))
    records = load_records(tmp_path / "set").records
    assert [(record.image_id, record.group) for record in records] == [("x", "g"), ("y", "h")]


def test_parquet_files_are_read_in_place_with_their_splits(tmp_path, four):
    for name, image in (("train-00000-of-00001", four[0]), ("test-00000-of-00001", four[1])):
        (tmp_path / "data").mkdir(exist_ok=True)
        make_set([image], [name]).to_parquet(str(tmp_path / "data" / f"{name}.parquet"))
    data = load_records(tmp_path)
    assert data.format == "parquet"
    assert {record.split for record in data.records} == {"train", "test"}
    assert decode_image(data.records[0].image).size == (16, 16)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_data_set_is_read_from_a_download_or_streamed(tmp_path, four, streaming):
    make_set(four, ["a", "b", "c", "d"]).to_parquet(str(tmp_path / "train.parquet"))
    options = LoadOptions(format="hub", streaming=streaming, limit=3)
    data = load_records(tmp_path, options)
    assert data.format == "hub"
    assert [record.captions[0] for record in data.records] == ["a", "b", "c"]
    assert {record.split for record in data.records} == {None}


@pytest.mark.slow
def test_unusual_columns_are_found_by_type_or_by_name(tmp_path, four):
    data = make_set(four[:1], ["A lung"]).rename_columns({"image": "scan", "text": "report"})
    data.save_to_disk(str(tmp_path / "set"))
    assert load_records(tmp_path / "set").records[0].captions == ("A lung",)
    more = data.add_column("author", ["Dr. B"])
    more.save_to_disk(str(tmp_path / "more"))
    with pytest.raises(DataError, match="which column is the caption") as caught:
        load_records(tmp_path / "more")
    assert "scan, report, author" in caught.value.what
    options = LoadOptions(caption_column="report")
    assert load_records(tmp_path / "more", options).records[0].captions == ("A lung",)


@pytest.mark.slow
def test_numbered_caption_columns_are_all_captions_in_their_order(tmp_path, four):
    columns = {f"caption_{n}": [f"{n} of a", f"{n} of b"] for n in (1, 0, 10, 2)}
    data = make_set(four[:2], ["x", "y"], **columns).remove_columns("text")
    data.save_to_disk(str(tmp_path / "set"))
    expected = ("0 of a", "1 of a", "2 of a", "10 of a")
    assert load_records(tmp_path / "set").records[0].captions == expected
    odd = data.rename_columns({name: name.replace("caption", "report") for name in columns})
    odd.save_to_disk(str(tmp_path / "odd"))
    options = LoadOptions(caption_column="report")
    assert load_records(tmp_path / "odd", options).records[0].captions == expected


@pytest.mark.parametrize("kind", ["bytes", "struct"])
def test_parquet_of_other_programs_may_have_plain_bytes_as_images(tmp_path, four, kind):
    import pyarrow
    import pyarrow.parquet

    images = four if kind == "bytes" else [{"bytes": image, "path": None} for image in four]
    table = pyarrow.table({"scan": images, "report": ["a", "b", "c", "d"]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    data = load_records(tmp_path)
    assert [(record.image, record.captions) for record in data.records] == [
        (image, (text,)) for image, text in zip(four, "abcd", strict=True)
    ]


def test_a_caption_column_that_is_all_empty_is_an_error(tmp_path, four):
    make_set(four, ["", " ", "", ""]).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match="4 images without a caption"):
        load_records(tmp_path / "set")


@pytest.mark.slow
def test_streaming_reads_no_further_than_the_limit(tmp_path, four):
    make_set(four[:2], ["a", "b"]).to_parquet(str(tmp_path / "train-00000-of-00002.parquet"))
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(b"never read")
    options = LoadOptions(format="hub", streaming=True, limit=1)
    assert len(load_records(tmp_path, options).records) == 1


@pytest.mark.slow
def test_images_beyond_the_memory_limit_go_to_files_named_by_content(tmp_path, four, monkeypatch):
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    make_set(four, ["a", "b", "c", "d"]).save_to_disk(str(tmp_path / "set"))
    options = LoadOptions(memory_limit=len(four[0]) + len(four[1]))
    data = load_records(tmp_path / "set", options)
    whole = load_records(tmp_path / "set")
    assert [type(record.image) for record in data.records[:2]] == [bytes, bytes]
    files = [record.image for record in data.records[2:]]
    assert [path.read_bytes() for path in files] == four[2:]
    assert {path.parents[1] for path in files} == {tmp_path / "cache" / "images"}
    assert [r.image_id for r in data.records] == [r.image_id for r in whole.records]
    assert data.notes == (f"2 images stored as files in {tmp_path / 'cache' / 'images'}",)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_images_skipped_by_filters_are_not_stored(tmp_path, four, monkeypatch, streaming):
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    rows = make_set(four, ["a", "b", "c", "d"], source=["x", "y", "y", "x"])
    rows.to_parquet(str(tmp_path / "train.parquet"))
    options = LoadOptions(
        format="hub", streaming=streaming, filters={"source": ("x",)}, memory_limit=0
    )
    data = load_records(tmp_path, options)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(kept) == sorted(record.image for record in data.records)
    assert [record.image.read_bytes() for record in data.records] == [four[0], four[3]]


def test_rows_without_an_image_are_listed(tmp_path, four):
    data = datasets.Dataset.from_dict(
        {"image": [{"bytes": four[0], "path": None}, None], "text": ["a", "b"]},
        features=datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")}),
    )
    data.save_to_disk(str(tmp_path / "set"))
    loaded = load_records(tmp_path / "set")
    assert [record.captions for record in loaded.records] == [("a",)]
    assert [image.reason for image in loaded.skipped] == ["missing"]


def test_a_hub_id_that_cannot_be_reached_is_an_error_with_a_fix():
    with pytest.raises(DataError, match="cannot load the hub data set captune/none") as caught:
        load_records("captune/none")
    assert "network" in caught.value.fix


def test_ids_that_restart_in_each_split_are_different_images(tmp_path, four):
    parts = {
        "train": make_set(four[:2], ["a", "b"], image_id=["0", "1"]),
        "test": make_set(four[2:], ["c", "d"], image_id=["0", "1"]),
    }
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    records = load_records(tmp_path / "set").records
    assert {record.image_id: record.captions for record in records} == {
        "0": ("a",),
        "1": ("b",),
        "test/0": ("c",),
        "test/1": ("d",),
    }


def test_the_truncated_one_of_several_parquet_files_is_named(tmp_path, png_bytes):
    import datasets

    row = {"image": [{"bytes": png_bytes(), "path": None}], "text": ["One"]}
    for number in (0, 2):
        datasets.Dataset.from_dict(row).to_parquet(tmp_path / f"train-{number}-of-3.parquet")
    whole = (tmp_path / "train-0-of-3.parquet").read_bytes()
    (tmp_path / "train-1-of-3.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot read the Parquet(?s:.*)where: .*train-1-of-3"):
        load_records(tmp_path)


def test_a_broken_parquet_file_is_a_data_error(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="cannot read the Parquet files"):
        load_records(tmp_path)


def write_rows(path, images, captions, ids):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"image": images, "caption": captions, "image_id": ids}
    pq.write_table(pa.table(columns), path, row_group_size=2)


def test_a_bad_row_of_the_second_parquet_file_is_named_with_its_id(tmp_path, four):
    write_rows(tmp_path / "part-0.parquet", four[:3], ["a", "b", "c"], [1, 2, 3])
    write_rows(tmp_path / "part-1.parquet", four[:3], ["d", "e", "{'en': 'f'}"], [4, 5, 6])
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path)
    assert caught.value.where == (
        f"{tmp_path / 'part-1.parquet'}, row 2, image_id 6, column 'caption'"
    )


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_a_bad_row_of_a_hub_data_set_is_named_with_its_split(tmp_path, four, streaming):
    texts = ["a", "b", "c", "{'en': 'd'}"]
    make_set(four, texts, image_id=list("1234")).to_parquet(str(tmp_path / "train.parquet"))
    make_set(four, list("abcd"), image_id=list("5678")).to_parquet(str(tmp_path / "test.parquet"))
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path, LoadOptions(format="hub", streaming=streaming))
    assert caught.value.where == f"{tmp_path}, split train, row 3, image_id 4, column 'text'"


def test_a_bad_row_of_a_saved_split_is_named(tmp_path, four):
    parts = {"train": make_set(four, list("abcd")), "test": make_set(four, ["a", "[1]", "c", "d"])}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(DataError, match="a caption must be text") as caught:
        load_records(tmp_path / "set")
    assert caught.value.where == f"{tmp_path / 'set'}, split test, row 1, column 'text'"


def test_a_parquet_file_without_a_caption_column_is_named(tmp_path, four):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": four[:1], "size": [3]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="which column is the caption") as caught:
        load_records(tmp_path)
    assert caught.value.where == str(tmp_path / "d.parquet")


def test_rows_whose_image_is_two_nulls_are_listed(tmp_path, four):
    images = [{"bytes": four[0], "path": None}, {"bytes": None, "path": None}]
    write_rows(tmp_path / "d.parquet", images, ["a", "b"], [1, 2])
    loaded = load_records(tmp_path)
    assert [record.captions for record in loaded.records] == [("a",)]
    assert [image.reason for image in loaded.skipped] == ["missing"]


def test_columns_of_unknown_types_are_skipped_with_a_note(tmp_path, four):
    import pyarrow as pa
    import pyarrow.parquet as pq

    tags = pa.array([[("size", "small")]], pa.map_(pa.string(), pa.string()))
    columns = {"image": four[:1], "caption": ["a"], "tags": tags}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    loaded = load_records(tmp_path)
    assert [record.captions for record in loaded.records] == [("a",)]
    assert any("not supported skipped: tags (map<string, string>)" in n for n in loaded.notes)


def test_dates_and_decimals_are_kept_as_text_and_bytes_are_reported(tmp_path, four):
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "image": four[:1],
        "caption": ["a"],
        "taken": [datetime.date(2024, 2, 29)],
        "price": [decimal.Decimal("1.50")],
        "thumbnail": [{"pixels": b"\x00\x01"}],
    }
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    loaded = load_records(tmp_path, LoadOptions(image_column="image", keep_columns=True))
    (kept,) = loaded.columns.values()
    assert kept == {"taken": "2024-02-29", "price": "1.50"}
    assert "columns with values that cannot be written as text skipped: thumbnail" in loaded.notes
