"""The runs of a journal: which command, model and settings, and how far it got."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from captune.bulk.journal.database import Database

RunState = Literal["running", "stopped", "done", "undone"]


@dataclass(frozen=True, slots=True)
class JournalRun:
    """One run in the journal.

    Attributes:
        number: Its number in the journal.
        id: What the user names it by.
        state: `running` also after a kill.
        maker: Number of its model and decoding.
        recipe: Number of its model, decoding and wording.
        existing: Its policy; `None`: none was given.
        command: The command line.
    """

    number: int
    id: str
    state: RunState
    maker: int
    recipe: int
    existing: str | None
    command: str


def intern_settings(database: Database, content: Mapping[str, object]) -> int:
    """Return the number of these settings; equal settings have one number."""
    text = json.dumps(content, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    database.write("INSERT OR IGNORE INTO makers(digest, content) VALUES (?, ?)", (digest, text))
    ((number,),) = database.rows("SELECT id FROM makers WHERE digest = ?", (digest,))
    return int(number)


def settings_of(database: Database, number: int) -> Mapping[str, Any]:
    """Return the settings of a number."""
    ((text,),) = database.rows("SELECT content FROM makers WHERE id = ?", (number,))
    content: dict[str, Any] = json.loads(text)
    return content


def last_run(database: Database) -> JournalRun | None:
    """Return the newest run that was not undone; `None`: there is none."""
    found = _read(database, "WHERE state != 'undone' ORDER BY number DESC LIMIT 1")
    return found[0] if found else None


def find_runs(database: Database, run_id: str) -> list[JournalRun]:
    """Return the run of an id, if it is in this journal."""
    return _read(database, "WHERE id = ?", run_id)


def begin_run(
    database: Database, *, maker: int, recipe: int, existing: str | None, command: str
) -> JournalRun:
    """Return the unfinished run with these settings, else a new one; it is `running`."""
    last = last_run(database)
    if last is not None and last.state in ("running", "stopped"):
        same = (last.maker, last.recipe, last.existing or "skip") == (
            *(maker, recipe),
            existing or "skip",
        )
        if same:
            database.write("UPDATE runs SET state = 'running' WHERE number = ?", (last.number,))
            return last
    # Not the time alone: clocks jump back.
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    number = database.write(
        "INSERT INTO runs(id, started, state, maker, recipe, existing, command)"
        " VALUES (?, ?, 'running', ?, ?, ?, ?)",
        (run_id, time.time(), maker, recipe, existing, command),
    )
    return JournalRun(number, run_id, "running", maker, recipe, existing, command)


def end_run(
    database: Database, run: JournalRun, *, state: RunState, counts: Mapping[str, object]
) -> None:
    """Record how a run ended."""
    database.write(
        "UPDATE runs SET state = ?, ended = ?, counts = ? WHERE number = ?",
        (state, time.time(), json.dumps(counts), run.number),
    )


def drop_run(database: Database, run: JournalRun) -> None:
    """Forget a run that has written nothing, so that it stays nameless."""
    database.write(
        "DELETE FROM runs WHERE number = ? AND NOT EXISTS (SELECT 1 FROM changes WHERE run = ?)",
        (run.number, run.number),
    )


def _read(database: Database, where: str, *values: object) -> list[JournalRun]:
    columns = "number, id, state, maker, recipe, existing, command"
    return [
        JournalRun(*row) for row in database.rows(f"SELECT {columns} FROM runs {where}", values)
    ]
