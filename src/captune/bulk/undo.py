"""`captune undo`: restores the bytes that a run replaced, except where they were edited since."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from captune.bulk.formats import (
    COLLECTED_NAMES,
    PER_IMAGE_NAMES,
    open_collected,
    open_per_image,
)
from captune.bulk.journal.changes import (
    PlannedChange,
    RecordedChange,
    changed_folders,
    changes_of,
    file_state,
    hash_bytes,
    hash_path,
    record_restored,
    settle_intents,
    undo_size,
)
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import decode_path
from captune.bulk.journal.results import read_collected
from captune.bulk.journal.runs import JournalRun, find_runs, last_writing_run, set_state
from captune.bulk.state.collected import discard_output, mark_of
from captune.bulk.state.index import find_journal
from captune.bulk.state.place import JournalPlace, hold, hold_folders
from captune.bulk.state.remote import remote_of
from captune.bulk.writing.disk import Disk
from captune.errors import OutputError
from captune.storage import cannot_write, sync_folder

_GROUP = 64
_AGAIN = "run captune undo again: it resumes where it stopped"


@dataclass(slots=True)
class UndoResult:
    """What an undo did.

    Attributes:
        run_id: The run.
        command: The command that it undoes.
        num_restored: Files that have their earlier bytes again, or no longer exist, as before.
        kept: Files edited since, left as they are.
        absent: Folders outside the journal's that are not there, such as those of a disk that is
            not connected; the run can be undone again once they are.
    """

    run_id: str
    command: str = ""
    num_restored: int = 0
    kept: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def undo_run(run: str) -> UndoResult:
    """Restore what a run changed.

    Args:
        run: Its id; or its output file or folder, for the newest run that is not undone.

    Raises:
        OutputError: There is no such run, it was undone before, a later run changed its files
            again, a file cannot be written, or another run is writing there.
    """
    journal, run_id = find_journal(run)
    place = JournalPlace(journal.parent.parent, journal.stem)
    with ExitStack() as held:
        held.enter_context(hold(place, shard=None))
        database = Database(journal)
        held.callback(database.close)
        settle_intents(database)
        found = _choose(database, run_id, journal)
        result = UndoResult(found.id, found.command)
        held.enter_context(hold_folders(place, changed_folders(database, found.number)))
        _refuse_later(database, found)
        _restore_changes(database, found, result)
        _drop_unfinished(database, found, place=place, result=result)
        restored = _restore_replaced(database, found, result)
        remote = remote_of(place)
        if remote is not None:
            left = remote.push_restored(target for target, _ in restored)
            result.num_restored -= len(left)
            result.kept += left
        # A run that was resumed may have changed a file twice.
        result.kept = list(dict.fromkeys(result.kept))
        if result.absent:
            return result
        set_state(database, found, state="undone")
        # Only now: without it, the undo after a killed one could not tell that a file is restored.
        for _, kept in restored:
            with suppress(OSError):
                if kept is not None:
                    kept.unlink()
        return result


def _choose(database: Database, run_id: str, journal: Path) -> JournalRun:
    found = find_runs(database, run_id) if run_id else []
    if not run_id:
        newest = last_writing_run(database)
        found = [] if newest is None else [newest]
    if not found or found[0].state == "undone":
        what = f"the run {run_id} was undone before" if found else f"{journal} holds no run to undo"
        raise OutputError(what, fix="captune caption writes the captions again")
    return found[0]


def _refuse_later(database: Database, run: JournalRun) -> None:
    """Refuse to undo a run whose files a later run has changed again."""
    later = database.rows(
        "SELECT runs.id FROM changes AS mine JOIN changes AS theirs ON theirs.target = mine.target"
        " AND theirs.run > mine.run AND theirs.state = 'done' JOIN runs ON runs.number = theirs.run"
        " WHERE mine.run = ? AND mine.state = 'done' LIMIT 1",
        (run.number,),
    ) or database.rows(
        "SELECT runs.id FROM replaced AS mine JOIN replaced AS theirs"
        " ON theirs.target = mine.target AND theirs.run > mine.run"
        " JOIN runs ON runs.number = theirs.run"
        " WHERE mine.run = ? AND runs.state != 'undone' ORDER BY theirs.run DESC LIMIT 1",
        (run.number,),
    )
    if later:
        raise OutputError(
            f"the run {later[0][0]} changed files of {run.id} again",
            fix=f"undo that one first: captune undo {later[0][0]}",
        )


def _restore_changes(database: Database, run: JournalRun, result: UndoResult) -> None:
    group: list[RecordedChange] = []
    is_there: dict[Path, bool] = {}
    for recorded in changes_of(database, run.number):
        folder = recorded.change.target.parent
        if not is_there.setdefault(folder, _is_there(folder, database.folder)):
            if str(folder) not in result.absent:
                result.absent.append(str(folder))
        elif _restore(recorded.change, result):
            group.append(recorded)
        if len(group) >= _GROUP:
            _commit(database, group)
            group = []
    _commit(database, group)


def _is_there(folder: Path, journal_folder: str) -> bool:
    """Return whether the files of a folder can be restored, or were deleted on purpose.

    A disk that is not connected looks like a deleted folder, unless the journal is on it too.
    """
    return folder.is_dir() or folder.is_relative_to(journal_folder)


def _commit(database: Database, group: list[RecordedChange]) -> None:
    for folder in {recorded.change.target.parent for recorded in group}:
        if folder.is_dir():
            sync_folder(folder)
    with database.transaction():
        for recorded in group:
            record_restored(database, recorded)


def _restore(change: PlannedChange, result: UndoResult) -> bool:
    """Restore one file; return whether it is as it was before the run."""
    target = change.target
    try:
        # An undo that was killed may have left it; its name is in the journal, so that it is found.
        change.temporary.unlink(missing_ok=True)
        now = target.read_bytes() if target.is_file() else None
    except OSError as error:
        raise cannot_write(target, error, then=_AGAIN) from error
    digest = None if now is None else hash_bytes(now)
    if digest == change.earlier:
        # A kill came between the rename and the commit of an earlier undo.
        result.num_restored += 1
        return True
    if now is None or digest != change.new or change.format not in PER_IMAGE_NAMES:
        result.kept.append(str(target))
        return False
    earlier = open_per_image(change.format).restore(now, change.undo)
    if earlier is None:
        _delete(target)
    elif hash_bytes(earlier) != change.earlier:
        result.kept.append(str(target))
        return False
    else:
        _replace(change, earlier)
    result.num_restored += 1
    return True


def _delete(target: Path) -> None:
    try:
        target.unlink()
    except OSError as error:
        raise cannot_write(target, error, then=_AGAIN) from error


def _replace(change: PlannedChange, content: bytes) -> None:
    target, temporary = change.target, change.temporary
    disk = Disk()
    try:
        disk.write(temporary, content, like=target)
        disk.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(target, error, then=_AGAIN) from error


def _drop_unfinished(
    database: Database, run: JournalRun, *, place: JournalPlace, result: UndoResult
) -> None:
    """Delete the rows and shards of a run that was stopped."""
    for name in run.formats:
        if name not in COLLECTED_NAMES:
            continue
        found = read_collected(database, name)
        if found is None or found.run != run.number:
            continue
        form = open_collected(name, place.collected(name))
        others = database.rows(
            "SELECT 1 FROM outputs WHERE format = ? AND run != ? LIMIT 1", (name, run.number)
        )
        if others:
            result.kept.append(f"{form.path} (unfinished, with rows of an earlier run)")
            continue
        try:
            result.num_restored += discard_output(form, database, run=run)
        finally:
            form.close()


def _restore_replaced(
    database: Database, run: JournalRun, result: UndoResult
) -> list[tuple[Path, Path | None]]:
    """Restore the finished files; return them with their kept earlier forms."""
    folders, done = set(), []
    for target, kept, new in _replaced(database, run):
        if not _restore_file(target, kept, new=new):
            result.kept.append(str(target))
            continue
        folders.add(target.parent)
        result.num_restored += 1
        done.append((target, kept))
    for folder in folders:
        if any(name == "webdataset" for name in run.formats):
            with suppress(OSError):
                # The folder is empty if all of its shards were from this run.
                folder.rmdir()
    return done


def _replaced(
    database: Database, run: JournalRun
) -> Iterator[tuple[Path, Path | None, bytes | None]]:
    """Yield each finished file, its kept earlier form, and the mark of what the run wrote."""
    for target, kept, new in database.rows(
        "SELECT target, kept, new FROM replaced WHERE run = ?", (run.number,)
    ):
        earlier = None if kept is None else decode_path(kept, database.folder)
        yield decode_path(target, database.folder), earlier, new


def _restore_file(target: Path, kept: Path | None, *, new: bytes | None) -> bool:
    """Restore one finished file; return whether it is as before, even by an undo that was killed.

    Raises:
        OutputError: It cannot be written.
    """
    now = mark_of(target)
    try:
        _temporary_of(target).unlink(missing_ok=True)
        if kept is None and now is None and not target.exists():
            return True
        if kept is not None and kept.is_file() and now == hash_path(kept):
            return True
        if new is None or now != new or (kept is not None and not kept.is_file()):
            return False
        if kept is None:
            target.unlink()
        else:
            _replace_by_link(target, kept)
    except OSError as error:
        raise cannot_write(target, error, then=_AGAIN) from error
    sync_folder(target.parent)
    return True


def _replace_by_link(target: Path, kept: Path) -> None:
    """Replace a file by a kept one, which stays: after a kill, the next undo compares with it."""
    temporary = _temporary_of(target)
    try:
        temporary.hardlink_to(kept)
    except OSError:
        shutil.copy2(kept, temporary)
    temporary.replace(target)


def _temporary_of(target: Path) -> Path:
    """Return a name that the next undo can derive, to delete what a kill left."""
    return target.with_name(f".captune-{hash_bytes(os.fsencode(target.name)).hex()}.part")


def undo_cost(run: str) -> tuple[int, int]:
    """Return the number of files that a run changed, and the bytes on disk kept to undo it.

    Args:
        run: Its id, its output file or its folder, as for `undo_run`.

    Raises:
        OutputError: There is no such run, or it was undone before.
    """
    journal, run_id = find_journal(run)
    database = Database(journal)
    try:
        found = _choose(database, run_id, journal)
        count, size = undo_size(database, found.number)
        for (kept,) in database.rows(
            "SELECT kept FROM replaced WHERE run = ? AND kept IS NOT NULL", (found.number,)
        ):
            state = file_state(decode_path(kept, database.folder))
            size += 0 if state is None else state[0]
            count += 1
        return count, size
    finally:
        database.close()
