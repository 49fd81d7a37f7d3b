"""Errors of the journal's file say what helps."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from captune.bulk.journal.database import Database
from captune.bulk.journal.runs import begin_run, find_runs, intern_settings, settings_of
from captune.errors import OutputError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "j.sqlite")) as opened:
        yield opened


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_journal_has_the_mode_of_any_other_file(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        with closing(Database(tmp_path / ".captune" / "j.sqlite")) as opened:
            opened.write("INSERT INTO makers VALUES (1, 'a', 'b')")
    finally:
        os.umask(old)
    (path,) = (tmp_path / ".captune").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_journal_that_another_program_holds_is_not_called_unwritable(database):
    database.write("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match="database is locked") as caught:
            database.write("CREATE TABLE more(a)")
    assert caught.value.fix.startswith("end the program that has it open")


@pytest.mark.parametrize(
    ("pragma", "message", "fix"),
    [
        ("query_only = ON", "attempt to write a readonly database", "make its folder writable"),
        ("max_page_count = 1", "database or disk is full", "free some disk space"),
    ],
)
def test_a_full_disk_and_a_folder_without_permission_are_told_apart(database, pragma, message, fix):
    database.write(f"PRAGMA {pragma}")
    with pytest.raises(OutputError, match=message) as caught, database.transaction():
        for number in range(100):
            database.write(f"CREATE TABLE more{number}(a)")
    assert caught.value.fix.startswith(fix)


@pytest.mark.parametrize("content", ["no tables", "no database"])
def test_a_file_that_is_no_journal_is_to_be_moved_away(tmp_path, content):
    path = tmp_path / "j.sqlite"
    if content == "no tables":
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 1")
    else:
        path.write_bytes(b"something else, of the length of a header" * 9)

    def read() -> None:
        with closing(Database(path)) as opened:
            opened.rows("SELECT 1 FROM runs")

    with pytest.raises(OutputError, match=r"j\.sqlite is damaged") as caught:
        read()
    assert caught.value.fix.startswith("move it away")


def test_a_command_with_a_name_that_is_not_utf8_is_stored_readably(database):
    # The shell passes the bytes of such a folder, and Python keeps them as surrogates.
    command = "captune caption runs/a caf\udce9 --to txt"
    run = begin_run(database, ["txt"], maker=1, recipe=1, existing="skip", command=command)
    assert find_runs(database, run.id)[0].command == r"captune caption runs/a caf\udce9 --to txt"
    assert find_runs(database, "caf\udce9") == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET formats = x'ff'",
        "UPDATE runs SET recipe = 'x'",
        "UPDATE makers SET content = x'7b7d'",
        "UPDATE makers SET content = '[1]'",
        "DELETE FROM makers",
    ],
)
def test_values_that_no_captune_stored_are_named(tmp_path, change):
    path = tmp_path / "j.sqlite"

    def read() -> None:
        with closing(Database(path)) as opened:
            settings_of(opened, 1)

    with closing(Database(path)) as opened:
        number = intern_settings(opened, {"model": "m"}, identity={"model": "m"})
        begin_run(opened, ["txt"], maker=number, recipe=number, existing="skip", command="")
        assert settings_of(opened, number) == {"model": "m"}
        opened.write(change)
    with pytest.raises(OutputError, match=r"j\.sqlite is damaged"):
        read()
