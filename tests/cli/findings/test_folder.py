"""The self-test of a folder finds what network shares lack, and advises on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from captune.cli.findings.folder import examine_folder


def states(folder: Path) -> list[tuple[str, str]]:
    return [(finding.state, finding.detail) for finding in examine_folder(folder)]


def test_a_local_disk_has_no_problem_and_keeps_no_file(tmp_path):
    ((state, detail),) = states(tmp_path)
    assert (state, "renames are atomic" in detail) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_renames_that_are_not_atomic_are_bad(tmp_path, monkeypatch):
    def copy(self: Path, target: Path) -> None:
        with self.open("rb") as old, Path(target).open("wb") as new:
            for _ in range(5):
                new.write(old.read(1000))
                new.flush()
        self.unlink()

    monkeypatch.setattr(Path, "replace", copy)
    ((state, detail),) = states(tmp_path)
    assert (state, "renames are not atomic" in detail) == ("bad", True)
    assert "--out FILE" in detail


@pytest.mark.skipif("os.name == 'nt'", reason="flock")
def test_locks_that_exclude_no_other_process_are_bad(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda _descriptor, _how: None)
    ((state, detail),) = states(tmp_path)
    assert (state, "two processes get the same lock" in detail) == ("bad", True)


def test_times_of_whole_seconds_are_noted(tmp_path, monkeypatch):
    write = Path.write_bytes

    def write_coarsely(self: Path, content: bytes) -> int:
        size = write(self, content)
        os.utime(self, (1_000_000_000, 1_000_000_000))
        return size

    monkeypatch.setattr(Path, "write_bytes", write_coarsely)
    ((state, detail),) = states(tmp_path)
    assert (state, "times of files are coarse" in detail) == ("note", True)


@pytest.mark.skipif("not os.path.isdir('/proc/self')", reason="Linux")
def test_a_folder_that_cannot_be_written_is_bad():
    ((state, detail),) = states(Path("/proc/self"))
    assert (state, "cannot be written" in detail) == ("bad", True)
