"""The runs of a journal: their command, model and settings, and how they ended."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from captune.bulk.formats.interface import Existing
from captune.bulk.journal.database import SCHEMA_VERSION, Database

RunState = Literal["running", "stopped", "done", "undone"]


@dataclass(frozen=True, slots=True)
class JournalRun:
    """One run in the journal.

    Attributes:
        number: Its number in the journal.
        id: What the user calls it: date, time and four random hex digits.
        state: A run that was killed is still `running`.
        maker: Number of its model and decoding.
        recipe: Number of its model, decoding and wording.
        existing: Its policy for images that already have a caption.
        formats: The names of its outputs.
        command: The command line.
    """

    number: int
    id: str
    state: RunState
    maker: int
    recipe: int
    existing: Existing
    formats: tuple[str, ...]
    command: str


def intern_settings(
    database: Database, content: Mapping[str, object], *, identity: Mapping[str, object]
) -> int:
    """Return the number of these settings; settings with equal identities share one."""
    text = json.dumps(content, sort_keys=True)
    digest = _digest(identity)
    database.write("INSERT OR IGNORE INTO makers(digest, content) VALUES (?, ?)", (digest, text))
    ((number,),) = database.rows("SELECT id FROM makers WHERE digest = ?", (digest,))
    return int(number)


def find_settings(database: Database, identity: Mapping[str, object]) -> int:
    """Return the number of settings with this identity; 0: no run has had them."""
    found = database.rows("SELECT id FROM makers WHERE digest = ?", (_digest(identity),))
    return int(found[0][0]) if found else 0


def settings_of(database: Database, number: int) -> Mapping[str, Any]:
    """Return the settings that have this number.

    Raises:
        OutputError: The journal is damaged.
    """
    try:
        ((text,),) = database.rows("SELECT content FROM makers WHERE id = ?", (number,))
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise database.damaged("the settings of a run cannot be read") from error


def last_run(database: Database, form: str = "") -> JournalRun | None:
    """Return the newest run that is not undone, with this format if given; `None`: none."""
    for run in reversed(_read(database, "WHERE state != 'undone'")):
        if not form or form in run.formats:
            return run
    return None


def last_writing_run(database: Database) -> JournalRun | None:
    """Return the newest run that wrote something and is not undone, else as `last_run`."""
    tables = ("changes", "outputs", "replaced")
    wrote = " UNION ".join(f"SELECT run FROM {table}" for table in tables)
    found = _read(database, f"WHERE state != 'undone' AND number IN ({wrote})")
    return found[-1] if found else last_run(database)


def find_runs(database: Database, run_id: str) -> list[JournalRun]:
    """Return the runs with this id: one, or none."""
    return _read(database, "WHERE id = ?", run_id)


def next_run(
    database: Database, formats: Sequence[str], *, maker: int, recipe: int, existing: Existing
) -> JournalRun:
    """Return the run that `begin_run` would return; a new one has the number 0."""
    last = last_run(database)
    wanted = (maker, recipe, existing, tuple(formats))
    is_open = last is not None and last.state in ("running", "stopped")
    if last is not None and is_open and _settings(last) == wanted:
        return last
    return JournalRun(0, "", "running", maker, recipe, existing, tuple(formats), "")


def begin_run(
    database: Database,
    formats: Sequence[str],
    *,
    maker: int,
    recipe: int,
    existing: Existing,
    command: str,
) -> JournalRun:
    """Return the last run if it is unfinished and has these settings, else a new one."""
    # An earlier captune would not find the paths that this one stores.
    database.write(f"PRAGMA user_version = {SCHEMA_VERSION}")
    found = next_run(database, formats, maker=maker, recipe=recipe, existing=existing)
    if found.number:
        database.write("UPDATE runs SET state = 'running' WHERE number = ?", (found.number,))
        return found
    # Not the time alone: clocks may be set back.
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    number = database.write(
        "INSERT INTO runs(id, started, state, maker, recipe, existing, formats, command)"
        " VALUES (?, ?, 'running', ?, ?, ?, ?, ?)",
        (run_id, time.time(), maker, recipe, existing, ",".join(formats), command),
    )
    return _read(database, "WHERE number = ?", number)[0]


def end_run(
    database: Database, run: JournalRun, *, state: RunState, counts: Mapping[str, object]
) -> None:
    """Record how a run ended."""
    database.write(
        "UPDATE runs SET state = ?, ended = ?, counts = ? WHERE number = ?",
        (state, time.time(), json.dumps(counts), run.number),
    )


def set_state(database: Database, run: JournalRun, *, state: RunState) -> None:
    """Record the state of a run."""
    database.write("UPDATE runs SET state = ? WHERE number = ?", (state, run.number))


def drop_empty_runs(database: Database) -> bool:
    """Forget runs that recorded nothing; return whether the journal is empty."""
    recorded = " UNION ".join(
        f"SELECT run FROM {table}" for table in ("changes", "outputs", "captions", "failures")
    )
    database.write(
        f"DELETE FROM runs WHERE number NOT IN ({recorded} UNION SELECT run FROM replaced)"
    )
    return not database.rows("SELECT 1 FROM runs")


def _digest(identity: Mapping[str, object]) -> str:
    key = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


def _settings(run: JournalRun) -> tuple[int, int, Existing, tuple[str, ...]]:
    return run.maker, run.recipe, run.existing, run.formats


def _read(database: Database, where: str, *values: object) -> list[JournalRun]:
    columns = "number, id, state, maker, recipe, existing, formats, command"
    rows = database.rows(f"SELECT {columns} FROM runs {where} ORDER BY number", values)
    return [
        JournalRun(
            number=row[0],
            id=row[1],
            state=row[2],
            maker=row[3],
            recipe=row[4],
            existing=row[5],
            formats=tuple(row[6].split(",")),
            command=row[7],
        )
        for row in rows
    ]
