"""Open collected outputs where an earlier run stopped; complete them so that undo works."""

from __future__ import annotations

import shutil
from pathlib import Path

from captune.bulk.formats.interface import CollectedFormat
from captune.bulk.items import CaptionedItem, Item
from captune.bulk.journal.changes import file_state, hash_path
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import encode_path
from captune.bulk.journal.results import (
    CollectedState,
    clear_collected,
    load_earlier_names,
    read_collected,
    record_collected,
)
from captune.bulk.journal.runs import JournalRun
from captune.bulk.state.maker import Maker
from captune.bulk.state.old_part import take_old_part
from captune.bulk.state.place import JournalPlace
from captune.errors import OutputError
from captune.storage import cannot_write

_CHUNK = 1000


def open_output(
    form: CollectedFormat, database: Database, *, run: JournalRun, recipe: Maker
) -> int:
    """Open a collected output; return how many rows its finished file holds.

    Raises:
        OutputError: It cannot be written, holds something other than captions, or was begun by
            another run, with `--force`, that is unfinished.
    """
    replaces = run.existing == "overwrite"
    found = settle_finish(form, database)
    old = None
    if found is None:
        old = take_old_part(form.path, now=recipe, force=replaces)
    state = None if found is None else found.state
    if found is not None and found.run != run.number:
        if replaces:
            clear_collected(database, form.name)
            state = b""
        elif found.replaces:
            raise OutputError(
                f"the unfinished captions for {form.path} were started with --force",
                fix="use the same settings to resume it, --force to start again, or another --out",
            )
    # What is replaced is not read: it may be anything.
    names = () if replaces else form.earlier_names()
    num_earlier = load_earlier_names(database, form.name, names=names)
    state = form.resume(state, keep_earlier=not replaces)
    now = CollectedState(run.number, state, False, replaces)
    with database.transaction():
        record_collected(database, form.name, found=now, names=(), recipe=run.recipe)
    if old is not None:
        rows = [CaptionedItem(Item(p.image_id, Path(p.image_id)), p) for p in old.predictions]
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            now = CollectedState(run.number, form.add(part), False, replaces)
            with database.transaction():
                names = [row.item.name for row in part]
                record_collected(database, form.name, found=now, names=names, recipe=run.recipe)
        old.path.unlink()
    return num_earlier


def finish_output(
    form: CollectedFormat, database: Database, *, run: JournalRun, place: JournalPlace
) -> None:
    """Complete a collected output; keep the file that it replaces for `captune undo`.

    Raises:
        OutputError: It cannot be written.
    """
    found = read_collected(database, form.name)
    has_rows = database.rows("SELECT 1 FROM outputs WHERE format = ? LIMIT 1", (form.name,))
    if found is None or (not has_rows and form.path.exists()):
        clear_collected(database, form.name)
        return
    target = encode_path(form.path, database.folder)
    # A run that failed later, and was resumed, completes it twice: what was before it is kept.
    is_kept = database.rows(
        "SELECT 1 FROM replaced WHERE run = ? AND format = ? AND target = ?",
        (run.number, form.name, target),
    )
    kept = None if is_kept else _keep(form.path, place.replaced / run.id)
    finishing = CollectedState(run.number, found.state, True, found.replaces)
    with database.transaction():
        record_collected(database, form.name, found=finishing, names=(), recipe=run.recipe)
        if not is_kept:
            earlier = None if kept is None else encode_path(kept, database.folder)
            database.write(
                "INSERT INTO replaced VALUES (?, ?, ?, ?, NULL)",
                (run.number, form.name, target, earlier),
            )
    form.finish()
    _record_finished(form, database, run.number)


def discard_output(form: CollectedFormat, database: Database, *, run: JournalRun) -> bool:
    """Delete an output that a run has begun and not finished; return whether there was one.

    Raises:
        OutputError: It cannot be deleted, or lacks committed rows.
    """
    found = settle_finish(form, database)
    if found is None or found.run != run.number:
        return False
    form.resume(found.state, keep_earlier=True)
    form.discard()
    clear_collected(database, form.name)
    return True


def settle_finish(form: CollectedFormat, database: Database) -> CollectedState | None:
    """Return the progress of an unfinished output; `None`: there is none.

    If a kill interrupted its completion, complete it.

    Raises:
        OutputError: It cannot be completed.
    """
    found = read_collected(database, form.name)
    if found is None or not found.is_finishing:
        return found
    if not form.is_finished():
        try:
            form.resume(found.state, keep_earlier=not found.replaces)
            form.finish()
        finally:
            form.close()
    _record_finished(form, database, found.run)
    return None


def mark_of(path: Path) -> bytes | None:
    """Return a mark that shows whether a finished file was edited; `None` if the file is missing.

    Size and time for a shard, which may be gigabytes; the hash of the content for other files.
    """
    if path.suffix == ".tar":
        state = file_state(path)
        return None if state is None else b"%d bytes at %d" % state
    return hash_path(path) if path.is_file() else None


def _record_finished(form: CollectedFormat, database: Database, run: int) -> None:
    """Record the finished files, so that `captune undo` finds them unless they were edited."""
    new = [(mark_of(path), encode_path(path, database.folder)) for path in form.finished_files()]
    place = encode_path(form.path, database.folder)
    with database.transaction():
        for mark, path in new:
            if path == place:
                database.write(
                    "UPDATE replaced SET new = ? WHERE run = ? AND format = ?",
                    (mark, run, form.name),
                )
                continue
            database.write(
                "DELETE FROM replaced WHERE run = ? AND format = ? AND target IN (?, ?)",
                (run, form.name, place, path),
            )
            database.write(
                "INSERT INTO replaced VALUES (?, ?, ?, NULL, ?)", (run, form.name, path, mark)
            )
    clear_collected(database, form.name)


def _keep(path: Path, folder: Path) -> Path | None:
    """Keep a copy of a file before it is replaced; return its path, `None` if there is none."""
    if not path.is_file():
        return None
    kept = folder / path.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            try:
                # A link costs no space: the new file replaces the name, not the content.
                kept.hardlink_to(path)
            except OSError:
                shutil.copy2(path, kept)
    except OSError as error:
        raise cannot_write(kept, error) from error
    return kept
