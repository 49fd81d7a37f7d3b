"""Captions in a Parquet file: the same rows as JSON lines, resumed and kept like them."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captune.bulk.formats import COLLECTED_NAMES, open_collected
from captune.bulk.formats.parquet_file import ParquetFile
from captune.bulk.items import CaptionedItem, Item
from captune.errors import OutputError
from captune.records import Prediction


def row(name: str, caption: str = "a dog", logprob: float = -0.5) -> CaptionedItem:
    prediction = Prediction(name, caption, logprob, 3, "eos", ("repetition",))
    return CaptionedItem(Item(name, Path(name), Path(name)), prediction)


def written(path: Path, *rows: CaptionedItem, keep_earlier: bool = True) -> list[dict[str, object]]:
    output = ParquetFile(path)
    output.resume(None, keep_earlier=keep_earlier)
    output.add(rows)
    output.finish()
    return pq.read_table(path).to_pylist()


def test_every_name_opens_the_format_of_that_name(tmp_path: Path) -> None:
    names = [open_collected(name, tmp_path / "out").name for name in COLLECTED_NAMES]
    assert names == list(COLLECTED_NAMES)


def test_rows_have_the_columns_of_json_lines(tmp_path: Path) -> None:
    assert written(tmp_path / "c.parquet", row("a.jpg", "=1+1", -math.inf)) == [
        {
            "image_id": "a.jpg",
            "caption": "=1+1",
            "mean_logprob": None,
            "num_tokens": 3,
            "finish_reason": "eos",
            "flags": ["repetition"],
        }
    ]


def test_a_file_whose_other_columns_would_be_lost_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    rows = [{"image_id": "a.jpg", "caption": "by hand", "rating": 5}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(OutputError, match="columns that captune does not write: rating"):
        list(ParquetFile(path).earlier_names())


def test_earlier_rows_are_kept_unless_new_ones_replace_them(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    written(path, row("a.jpg", "one"), row("b.jpg", "two"))
    found = written(path, row("b.jpg", "three"), row("c.jpg", "four"))
    assert [(r["image_id"], r["caption"]) for r in found] == [
        ("a.jpg", "one"),
        ("b.jpg", "three"),
        ("c.jpg", "four"),
    ]
    assert len(written(path, row("d.jpg"), keep_earlier=False)) == 1


def test_names_that_are_not_utf_8_are_read_back_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    written(path, row("caf\udce9.jpg"))
    assert list(ParquetFile(path).earlier_names()) == ["caf\udce9.jpg"]


def test_a_killed_run_resumes_after_the_committed_rows(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    first = ParquetFile(path)
    first.resume(None, keep_earlier=True)
    state = first.add([row("a.jpg")])
    first.add([row("b.jpg", "not committed")])
    second = ParquetFile(path)
    second.resume(state, keep_earlier=True)
    second.add([row("b.jpg", "again")])
    second.finish()
    first.close()
    assert pq.read_table(path)["caption"].to_pylist() == ["a dog", "again"]


@pytest.mark.slow
def test_rows_are_written_in_groups_of_ten_thousand(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    written(path, *(row(f"{n}.jpg") for n in range(20_001)))
    assert pq.ParquetFile(path).num_row_groups == 3


@pytest.mark.parametrize("content", [b"not parquet", b"PAR1 PAR1"])
def test_an_unrelated_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="other than captions"):
        list(ParquetFile(path).earlier_names())


def test_a_table_without_captions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(OutputError, match="other than captions"):
        list(ParquetFile(path).earlier_names())
