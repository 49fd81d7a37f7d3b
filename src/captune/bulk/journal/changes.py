"""Changes of files: committed as intents before the rename, as done after it, settled on resume."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from captune.bulk.journal.database import Database
from captune.bulk.journal.known import FileState
from captune.bulk.journal.names import decode_name, decode_path, encode_name, encode_path
from captune.storage import RESUMES, cannot_write, naming

ChangeState = Literal["intent", "done", "kept", "restored"]
_CHUNK = 500
_HASH_BYTES, _BLOCK = 16, 1 << 17


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """A change of one file that is about to happen.

    Attributes:
        name: The image; in the journal, its `image_key`.
        format: The format that makes it.
        target: The file.
        temporary: The file that is renamed to it.
        earlier: Hash of the bytes before; `None`: the file does not exist.
        new: Hash of the new bytes.
        undo: What the format needs to restore the earlier bytes.
    """

    name: str
    format: str
    target: Path
    temporary: Path
    earlier: bytes | None
    new: bytes
    undo: bytes


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change in the journal, with its number, run and recipe."""

    number: int
    run: int
    recipe: int
    change: PlannedChange


def hash_bytes(content: bytes) -> bytes:
    """Return the hash by which the journal compares contents, 16 bytes."""
    return hashlib.blake2b(content, digest_size=_HASH_BYTES).digest()


def hash_path(path: Path) -> bytes | None:
    """Return the hash of a file; `None`: it does not exist.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with naming(path), path.open("rb") as file:
            return hash_open(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def hash_open(file: IO[bytes], *, size: float = math.inf) -> bytes:
    """Return the hash of an open file from its current position, of at most `size` bytes."""
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    while size > 0 and (block := file.read(int(min(size, _BLOCK)))):
        digest.update(block)
        size -= len(block)
    return digest.digest()


def file_state(path: Path | str) -> FileState | None:
    """Return size and time of a file, by which edits are noticed; `None`: it is not found."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a million times
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def record_intents(
    database: Database, changes: Iterable[PlannedChange], *, run: int, recipe: int
) -> list[int]:
    """Record changes that are about to happen, inside a transaction; return their numbers."""
    return [
        database.write(
            "INSERT INTO changes(run, recipe, name, format, target, temporary, earlier, new, undo,"
            " state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'intent')",
            (
                *(run, recipe, encode_name(change.name), change.format),
                encode_path(change.target, database.folder),
                encode_path(change.temporary, database.folder),
                *(change.earlier, change.new, change.undo),
            ),
        )
        for change in changes
    ]


def record_done(database: Database, recorded: RecordedChange, *, state: FileState) -> None:
    """Record that a change has happened and is synced, inside a transaction."""
    change, name = recorded.change, encode_name(recorded.change.name)
    database.write("UPDATE changes SET state = 'done' WHERE id = ?", (recorded.number,))
    database.write(
        "INSERT OR REPLACE INTO outputs(name, format, recipe, run, size, mtime_ns)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (name, change.format, recorded.recipe, recorded.run, *state),
    )


def record_kept(database: Database, number: int) -> None:
    """Record that a file was edited by hand in the meantime, and is kept."""
    database.write("UPDATE changes SET state = 'kept' WHERE id = ?", (number,))


def drop_intent(database: Database, number: int) -> None:
    """Forget a change that did not happen."""
    database.write("DELETE FROM changes WHERE id = ?", (number,))


def settle_intents(database: Database) -> list[Path]:
    """Settle the intents that a kill left; return the files that were edited by hand.

    A file with the new bytes is recorded as done. One with the earlier bytes is written again by
    the run, with the caption in the journal. One with neither was edited by hand and is kept.

    Raises:
        OutputError: A file cannot be read, or a temporary one cannot be deleted.
    """
    kept = []
    for recorded in list(_read(database, "state = 'intent'")):
        change = recorded.change
        now, state = _look(change), file_state(change.target)
        with database.transaction():
            if now == change.new and state is not None:
                record_done(database, recorded, state=state)
            elif now == change.earlier:
                drop_intent(database, recorded.number)
            else:
                record_kept(database, recorded.number)
                kept.append(change.target)
    return kept


def _look(change: PlannedChange) -> bytes | None:
    """Delete the temporary file of an intent; return the hash of its target, `None`: no file."""
    try:
        # A folder may have become a file since.
        with suppress(NotADirectoryError):
            change.temporary.unlink(missing_ok=True)
        return b"" if change.target.is_dir() else hash_path(change.target)
    except OSError as error:
        raise cannot_write(change.target, error, then=RESUMES) from error


def changes_of(database: Database, run: int) -> Iterator[RecordedChange]:
    """Yield the done changes of a run, newest first."""
    before = 1 << 62
    while found := list(
        _read(database, "state = 'done' AND run = ? AND id < ?", run, before, newest_first=True)
    ):
        yield from found
        before = found[-1].number


def changed_folders(database: Database, run: int) -> set[Path]:
    """Return the folders of the files that a run changed."""
    folders: set[Path] = set()
    before = 1 << 62
    while found := database.rows(
        "SELECT id, target FROM changes WHERE state = 'done' AND run = ? AND id < ?"
        f" ORDER BY id DESC LIMIT {_CHUNK}",
        (run, before),
    ):
        folders |= {decode_path(target, database.folder).parent for _, target in found}
        before = found[-1][0]
    return folders


def undo_size(database: Database, run: int) -> tuple[int, int]:
    """Return the number of files that a run changed, and the bytes kept to restore them."""
    ((count, size),) = database.rows(
        "SELECT count(*), coalesce(sum(length(undo)), 0) FROM changes"
        " WHERE run = ? AND state = 'done'",
        (run,),
    )
    return int(count), int(size)


def record_restored(database: Database, recorded: RecordedChange) -> None:
    """Record that a file has its earlier bytes again, inside a transaction."""
    database.write("UPDATE changes SET state = 'restored' WHERE id = ?", (recorded.number,))
    database.write(
        "DELETE FROM outputs WHERE name = ? AND format = ? AND run = ?",
        (encode_name(recorded.change.name), recorded.change.format, recorded.run),
    )


def _read(
    database: Database, where: str, *values: object, newest_first: bool = False
) -> Iterator[RecordedChange]:
    order = "DESC" if newest_first else "ASC"
    columns = "id, run, recipe, name, format, target, temporary, earlier, new, undo"
    for row in database.rows(
        f"SELECT {columns} FROM changes WHERE {where} ORDER BY id {order} LIMIT {_CHUNK}", values
    ):
        number, run, recipe, name, form, target, temporary, earlier, new, undo = row
        yield RecordedChange(
            *(number, run, recipe),
            PlannedChange(
                decode_name(name),
                form,
                decode_path(target, database.folder),
                decode_path(temporary, database.folder),
                earlier,
                new,
                undo,
            ),
        )
