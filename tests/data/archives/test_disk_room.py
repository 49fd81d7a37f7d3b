"""Data sets that `datasets` copies into its cache stop before the disk is full."""

from __future__ import annotations

import errno
import json
import signal
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from captune.data import LoadOptions, load_records
from captune.data.archives import disk_room
from captune.data.archives.disk_room import RESERVE, keep_reserve, require_room
from captune.errors import DataError

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch) -> list[int]:
    """Free bytes of the simulated disk; the last value stays."""
    values = [10 * RESERVE]

    def usage(_place: Path) -> Usage:
        return Usage(0, 0, values.pop(0) if len(values) > 1 else values[0])

    monkeypatch.setattr(disk_room.shutil, "disk_usage", usage)
    return values


def test_an_announced_size_larger_than_the_free_space_is_refused_with_the_folder(tmp_path, free):
    free[:] = [3 * 10**9]
    folder = tmp_path / "not" / "there"
    with pytest.raises(DataError) as caught:
        require_room(folder, 12_300_000_000, what="owner/name")
    assert caught.value.what == (
        f"owner/name needs 12.3 GB of disk space in {folder}, where 3.0 GB are free"
    )
    assert "HF_HOME" in caught.value.fix
    require_room(folder, 0, what="owner/name")


def test_writing_stops_when_the_free_space_reaches_the_reserve(tmp_path, free) -> None:
    free[:] = [10 * RESERVE, 5 * RESERVE, RESERVE - 1]
    handler = signal.getsignal(signal.SIGTERM)
    began = time.monotonic()
    with (
        pytest.raises(DataError, match=r"fills the disk of .*: 1.1 GB are free, of 10.7 GB"),
        keep_reserve(tmp_path, what="owner/name"),
    ):
        while time.monotonic() - began < 60:
            time.sleep(0.01)
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGTERM) == handler


def test_an_error_of_a_full_disk_is_named_even_if_it_is_wrapped(tmp_path, free) -> None:
    with pytest.raises(DataError, match="fills the disk"), keep_reserve(tmp_path, what="a/b"):
        raise ValueError("generation failed") from OSError(errno.ENOSPC, "No space left")


def test_other_errors_and_enough_space_change_nothing(tmp_path, free) -> None:
    with keep_reserve(tmp_path, what="a/b"):
        pass
    with pytest.raises(KeyError), keep_reserve(tmp_path, what="a/b"):
        raise KeyError("column")
    assert not [t for t in threading.enumerate() if t.name == "captune-disk"]


@pytest.mark.slow
def test_a_set_of_json_lines_that_datasets_copies_is_read(tmp_path, png_bytes) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes())
    line = {"file_name": "a.png", "text": "A dog"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
    data = load_records(tmp_path, LoadOptions(format="hub", allow_outside=True))
    assert [record.captions for record in data.records] == [("A dog",)]
