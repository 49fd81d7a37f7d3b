"""The SQLite file behind the journal: one connection, thread-safe, sound after a power cut.

It uses the rollback journal (`DELETE`) with `synchronous = EXTRA`, not the write-ahead log: the log
needs memory shared between processes, which network file systems lack, and it speeds up many small
commits, while a run commits in groups. A commit costs three syncs, which is negligible for groups
of up to 64 images. `EXTRA` also syncs the folder after the rollback journal is deleted, so that a
power cut cannot roll back a committed group.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from captune.errors import OutputError
from captune.storage import RESUMES, cannot_write, refuse_special

# 2: paths inside the journal's folder are relative to it; the tables are those of 1.
SCHEMA_VERSION = 2
_CACHE_KIB = 1_024
# SQLITE_ERROR: it lacks a table.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")
# What to do about other errors.
_WRITABLE = "make its folder writable"
_UNLOCK = "end the program that has it open, such as another captune or a backup"
_ROOM = "free some disk space"
_FIXES = {
    **dict.fromkeys(
        ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"), _WRITABLE
    ),
    **dict.fromkeys(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL"), _UNLOCK),
    **dict.fromkeys(("SQLITE_FULL", "SQLITE_IOERR"), _ROOM),
    "SQLITE_NOMEM": "free some memory",
}

# Names are bytes: file names may hold some that are not UTF-8.
_TABLES = """
CREATE TABLE makers(id INTEGER PRIMARY KEY, digest TEXT UNIQUE NOT NULL, content TEXT NOT NULL);
CREATE TABLE runs(
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, started REAL NOT NULL, ended REAL,
    state TEXT NOT NULL, maker INTEGER NOT NULL, recipe INTEGER NOT NULL, existing TEXT NOT NULL,
    formats TEXT NOT NULL, command TEXT NOT NULL, counts TEXT);
CREATE TABLE files(
    name BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, content BLOB) WITHOUT ROWID;
CREATE TABLE captions(
    content BLOB, maker INTEGER, run INTEGER, caption TEXT, mean_logprob REAL, num_tokens INTEGER,
    finish_reason TEXT, flags TEXT, PRIMARY KEY(content, maker)) WITHOUT ROWID;
CREATE TABLE outputs(
    name BLOB, format TEXT, recipe INTEGER, run INTEGER, size INTEGER, mtime_ns INTEGER,
    PRIMARY KEY(name, format)) WITHOUT ROWID;
CREATE TABLE changes(
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, recipe INTEGER NOT NULL, name BLOB NOT NULL,
    format TEXT NOT NULL, target BLOB NOT NULL, temporary BLOB NOT NULL, earlier BLOB,
    new BLOB NOT NULL, undo BLOB NOT NULL, state TEXT NOT NULL);
CREATE INDEX unsettled ON changes(id) WHERE state = 'intent';
CREATE TABLE collected(
    format TEXT PRIMARY KEY, run INTEGER NOT NULL, state BLOB, is_finishing INTEGER NOT NULL,
    replaces INTEGER NOT NULL);
CREATE TABLE replaced(run INTEGER, format TEXT, target BLOB, kept BLOB, new BLOB);
CREATE TABLE failures(
    name BLOB PRIMARY KEY, run INTEGER, maker INTEGER, code TEXT, place TEXT, fix TEXT,
    size INTEGER, mtime_ns INTEGER) WITHOUT ROWID;
"""

# SQLite stores a value of any kind in any column. Tables with a row per image are not examined.
_ODD_VALUES = """
SELECT 1 FROM runs WHERE typeof(maker) || typeof(recipe) != 'integerinteger'
    OR 'blob' IN (typeof(id), typeof(state), typeof(existing), typeof(formats), typeof(command))
UNION SELECT 1 FROM makers WHERE typeof(content) != 'text'
UNION SELECT 1 FROM collected
    WHERE typeof(run) != 'integer' OR typeof(state) NOT IN ('blob', 'text', 'null')
UNION SELECT 1 FROM replaced
    WHERE typeof(target) NOT IN ('blob', 'text') OR typeof(kept) NOT IN ('blob', 'text', 'null')
LIMIT 1
"""


class Database:
    """The journal's file; threads take turns on its one connection.

    Attributes:
        path: The file.
        folder: Absolute path of the folder whose `.captune` holds it.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; create it if it does not exist.

        Raises:
            OutputError: It cannot be written, is damaged, or was written by a newer captune.
        """
        self.path = path
        self.folder = os.path.abspath(path.parent.parent)  # noqa: PTH100 - links stay
        self._mutex = threading.RLock()
        refuse_special(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        # SQLite creates files with 0644: others who share the folder could not resume or undo.
        # Where this fails, SQLite fails too, and explains it.
        with suppress(OSError):
            path.open("xb").close()
        with self._explaining():
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = EXTRA")
            for schema in ("main", "temp"):
                self._connection.execute(f"PRAGMA {schema}.cache_size = -{_CACHE_KIB}")
            self._create()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._mutex, self._explaining():
            return self._connection.execute(statement, _storable(values)).fetchall()

    def rows_among(
        self, statement: str, among: Sequence[bytes], *, values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a query that ends with `IN` and gets a list after it.

        The list is filled up to the next power of two: each length is a statement of its own, of
        50 kB, and a hundred of them are kept.

        Args:
            statement: The query, up to and including `IN`.
            among: The list.
            values: Values before it.
        """
        if not among:
            return []
        length = 1 << (len(among) - 1).bit_length()
        padded = [*among, *[among[-1]] * (length - len(among))]
        marks = ",".join("?" * length)
        return self.rows(f"{statement} ({marks})", (*values, *padded))

    def write(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Execute one statement; return the id of the row that it inserted, or 0."""
        with self._mutex, self._explaining():
            return self._connection.execute(statement, _storable(values)).lastrowid or 0

    def write_many(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each row of values."""
        with self._mutex, self._explaining():
            self._connection.executemany(statement, map(_storable, values))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that the body writes at once, or nothing."""
        with self._mutex, self._explaining():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._connection.close()

    def _create(self) -> None:
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        if version > SCHEMA_VERSION:
            raise OutputError(
                f"{self.path} was written by a newer captune (schema {version})",
                fix="upgrade captune, or move the file: images with captions are still skipped",
            )
        if version == 0:
            with self.transaction():
                for statement in _TABLES.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if self._connection.execute(_ODD_VALUES).fetchone():
            raise self.damaged("a run has values of another kind")

    def damaged(self, reason: str) -> OutputError:
        """Return the error for content that no captune wrote."""
        return OutputError(
            f"the journal {self.path} is damaged: {reason}",
            fix="move it away: images with captions are still skipped, but `captune undo`"
            " cannot undo earlier runs",
        )

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> OutputError:
        # Extended names, such as SQLITE_IOERR_WRITE, begin with the plain one.
        name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
        if name in _DAMAGED:
            return self.damaged(str(error))
        fix = f"{_FIXES[name]}, then {RESUMES}" if name in _FIXES else RESUMES
        return OutputError(f"cannot write the journal {self.path}: {error}", fix=fix)


def _storable(values: Sequence[Any]) -> list[Any]:
    """Return values as SQLite takes them: its text is UTF-8, which commands need not be.

    A command, or a message, may hold bytes of a file name that are not UTF-8; they become escapes.
    """
    return [
        value.encode("utf-8", "backslashreplace").decode("utf-8")
        if isinstance(value, str) and not value.isascii()
        else value
        for value in values
    ]
