"""Reading the JSON files that captune wrote, and adding lines to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from captune.errors import DataError, OutputError
from captune.storage import append_jsonl, iter_json_lines, read_json_object


def read_lines(path: Path, *, fix: str) -> None:
    list(iter_json_lines(path, fix=fix))


@pytest.mark.skipif("os.name == 'nt'", reason="pipes of POSIX")
@pytest.mark.parametrize("read", [read_lines, read_json_object])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: Callable[..., object]) -> None:
    os.mkfifo(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match="is a pipe, not a regular file") as caught:
        read(tmp_path / "test.jsonl", fix="draw the splits again")
    assert caught.value.fix == "draw the splits again"


@pytest.mark.parametrize("read", [read_lines, read_json_object])
def test_a_file_that_the_system_keeps_from_captune_is_not_to_be_written_again(
    tmp_path: Path, read: Callable[..., object]
) -> None:
    # A user who may not read a file gets the same advice; the tests may run as root, who may.
    (tmp_path / "splits.json").symlink_to("splits.json")
    with pytest.raises(DataError, match="cannot read") as caught:
        read(tmp_path / "splits.json", fix="draw the splits again")
    assert caught.value.fix == "check the path, and that you may read it"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_line_is_not_added_to_a_pipe_which_may_have_no_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(OutputError, match="is a named pipe"):
        append_jsonl(tmp_path / "log.jsonl", {"step": 1})
