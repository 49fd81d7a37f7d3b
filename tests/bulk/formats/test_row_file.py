"""One file of captions: its part is cut back to what is committed, and finished atomically."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from captune.bulk.formats import open_collected
from captune.bulk.items import CaptionedItem, Item
from captune.errors import OutputError
from captune.records import Prediction


def rows(*names: str, caption: str = "a dog") -> list[CaptionedItem]:
    return [
        CaptionedItem(Item(name, Path(name)), Prediction(name, caption, -0.5, 3, "eos", ("p", "q")))
        for name in names
    ]


def write(path: Path, *names: str, caption: str = "a dog", keep_earlier: bool = True) -> None:
    form = open_collected(path.suffix[1:], path)
    form.resume(None, keep_earlier=keep_earlier)
    form.add(rows(*names, caption=caption))
    form.finish()
    form.close()


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_rows_after_the_last_committed_one_are_removed(tmp_path, ending):
    path = tmp_path / f"c.{ending}"
    first = open_collected(ending, path)
    first.resume(None, keep_earlier=True)
    state = first.add(rows("a.jpg", "=b\n.jpg", caption='x, "y"\r\nz'))
    first.add(rows("lost.jpg"))
    first.close()
    assert not path.exists()
    second = open_collected(ending, path)
    assert second.resume(state, keep_earlier=True) == state
    second.add(rows("c.jpg"))
    second.finish()
    assert list(open_collected(ending, path).earlier_names()) == ["a.jpg", "=b\n.jpg", "c.jpg"]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif("not hasattr(os, 'O_DIRECTORY')", reason="this system opens no folders")
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_no_power_cut_leaves_neither_the_part_nor_the_finished_file(tmp_path, monkeypatch, ending):
    synced, sync = [], os.fsync
    path, part = tmp_path / f"c.{ending}", tmp_path / f"c.{ending}.part"

    def note(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            synced.append((path.exists(), part.exists()))
        sync(file)

    monkeypatch.setattr(os, "fsync", note)
    form = open_collected(ending, path)
    form.resume(None, keep_earlier=True)
    assert synced == [(False, True)]
    form.add(rows("a.jpg"))
    form.finish()
    assert synced[1:] == [(True, True)]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_finished_rows_stay_unchanged_before_the_new_ones(tmp_path, ending):
    path = tmp_path / f"c.{ending}"
    write(path, "a.jpg", "b.jpg")
    before = path.read_bytes()
    write(path, "c.jpg")
    assert path.read_bytes().startswith(before)
    write(path, "a.jpg", caption="new")
    assert list(open_collected(ending, path).earlier_names()) == ["b.jpg", "c.jpg", "a.jpg"]
    write(path, "d.jpg", keep_earlier=False)
    assert list(open_collected(ending, path).earlier_names()) == ["d.jpg"]


def test_unknown_fields_of_a_row_are_kept(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"caption":"a dog",  "image_id":"a.jpg", "mine": 1}\n')
    write(path, "b.jpg")
    assert json.loads(path.read_text().splitlines()[0])["mine"] == 1


@pytest.mark.parametrize("content", ["not json\n", '{"a": 1}\n', "[1, 2]\n", '"text"\n'])
def test_a_file_with_other_content_is_refused(tmp_path, content):
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    with pytest.raises(OutputError, match="holds something other than captions"):
        list(open_collected("jsonl", path).earlier_names())


def test_a_file_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("image_id,caption,mine\na.jpg,a dog,1\n")
    with pytest.raises(OutputError, match="holds something other than captions"):
        list(open_collected("csv", path).earlier_names())


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_quote_that_an_edit_left_open_is_found_in_a_long_file(tmp_path, ending):
    # Counting the quotes of all rows so far for each line took an hour for a million rows.
    path = tmp_path / f"c.{ending}"
    write(path, *(f"{number}.jpg" for number in range(200_000)))
    lines = path.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace("a dog", 'a "dog')
    path.write_text("".join(lines))
    number = 4 if ending == "csv" else 5
    with pytest.raises(OutputError, match=f"other than captions after {number} rows"):
        list(open_collected(ending, path).earlier_names())


def test_another_file_with_the_name_of_the_part_is_kept(tmp_path):
    part = tmp_path / "c.jsonl.part"
    part.write_text("half a film\n")
    with pytest.raises(OutputError, match="is not part of a run in the journal"):
        open_collected("jsonl", tmp_path / "c.jsonl").resume(None, keep_earlier=True)
    assert part.read_text() == "half a film\n"


def test_a_part_that_lost_committed_rows_is_refused(tmp_path):
    with pytest.raises(OutputError, match="lacks rows that were written to it"):
        open_collected("jsonl", tmp_path / "c.jsonl").resume(b"10", keep_earlier=True)
