"""What a run commits besides changes: captions, files, failures, collected outputs' states."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from captune.bulk.items import Item
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import encode_name, image_key
from captune.errors import ImageError
from captune.records import Prediction


@dataclass(frozen=True, slots=True)
class CollectedState:
    """The progress of a collected output.

    Attributes:
        run: Number of the run that writes it.
        state: What its last committed `resume` or `add` returned.
        is_finishing: Whether its `finish` had begun.
        replaces: Whether the run replaces earlier rows.
    """

    run: int
    state: bytes | None
    is_finishing: bool
    replaces: bool


def record_captions(
    database: Database, found: Iterable[tuple[bytes, Prediction]], *, maker: int, run: int
) -> None:
    """Record generated captions by content, inside a transaction."""
    database.write_many(
        "INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(content, maker, run, one.caption),
                one.mean_logprob if math.isfinite(one.mean_logprob) else None,
                *(one.num_tokens, one.finish_reason, " ".join(one.flags)),
            )
            for content, one in found
        ),
    )


def record_files(database: Database, found: Iterable[tuple[Item, bytes]]) -> None:
    """Record the content of files, so that later runs need not read them, in a transaction."""
    database.write_many(
        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
        (
            (encode_name(image_key(item, database.folder)), item.size, item.mtime_ns, content)
            for item, content in found
        ),
    )


def record_failure(
    database: Database, item: Item, *, error: ImageError, run: int, maker: int
) -> None:
    """Record why an image has no caption, inside a transaction."""
    database.write(
        "INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(encode_name(item.name), run, maker),
            *(error.what, error.where, error.fix),
            *(item.size, item.mtime_ns),
        ),
    )


def clear_failures(database: Database, names: Iterable[str]) -> None:
    """Forget failures of images that have a caption now, inside a transaction."""
    database.write_many(
        "DELETE FROM failures WHERE name = ?", ((encode_name(name),) for name in names)
    )


def read_collected(database: Database, form: str) -> CollectedState | None:
    """Return the progress of an unfinished collected output; `None`: there is none."""
    found = database.rows(
        "SELECT run, state, is_finishing, replaces FROM collected WHERE format = ?", (form,)
    )
    if not found:
        return None
    run, state, is_finishing, replaces = found[0]
    return CollectedState(run, state, bool(is_finishing), bool(replaces))


def record_collected(
    database: Database, form: str, *, found: CollectedState, names: Iterable[str], recipe: int
) -> None:
    """Record the state of a collected output and the rows in it, inside a transaction."""
    database.write(
        "INSERT OR REPLACE INTO collected VALUES (?, ?, ?, ?, ?)",
        (form, found.run, found.state, found.is_finishing, found.replaces),
    )
    database.write_many(
        "INSERT OR REPLACE INTO outputs VALUES (?, ?, ?, ?, NULL, NULL)",
        ((encode_name(name), form, recipe, found.run) for name in names),
    )


def clear_collected(database: Database, form: str) -> None:
    """Forget the rows of a finished output: from now on, the file itself is the record."""
    with database.transaction():
        database.write("DELETE FROM collected WHERE format = ?", (form,))
        others = "SELECT 1 FROM outputs WHERE format <> ? LIMIT 1"
        if database.rows(others, (form,)):
            database.write("DELETE FROM outputs WHERE format = ?", (form,))
        else:
            # Without a condition, SQLite frees whole pages, and collects no keys of a million rows.
            database.write("DELETE FROM outputs")


def load_earlier_names(database: Database, form: str, *, names: Iterable[str]) -> int:
    """Keep the names of a finished file for `earlier_among`; return how many there are.

    A temporary table, not a set: a file may hold millions.
    """
    database.write(
        "CREATE TEMP TABLE IF NOT EXISTS earlier(format TEXT, name BLOB, "
        "PRIMARY KEY(format, name)) WITHOUT ROWID"
    )
    with database.transaction():
        database.write("DELETE FROM temp.earlier WHERE format = ?", (form,))
        database.write_many(
            "INSERT OR IGNORE INTO temp.earlier VALUES (?, ?)",
            ((form, encode_name(name)) for name in names),
        )
    ((count,),) = database.rows("SELECT count(*) FROM temp.earlier WHERE format = ?", (form,))
    return int(count)


def earlier_among(database: Database, form: str, *, names: Iterable[str]) -> set[str]:
    """Return the names that the finished file holds; needs `load_earlier_names` first."""
    return _names_among(database, "temp.earlier", form, names=names)


def written_among(database: Database, form: str, *, names: Iterable[str]) -> set[str]:
    """Return the names that runs of this journal have written to an output."""
    return _names_among(database, "outputs", form, names=names)


def _names_among(database: Database, table: str, form: str, *, names: Iterable[str]) -> set[str]:
    by_code = {encode_name(name): name for name in names}
    found = database.rows_among(
        f"SELECT name FROM {table} WHERE format = ? AND name IN", list(by_code), values=(form,)
    )
    return {by_code[code] for (code,) in found}
