"""Locks on what captune writes: one command per run folder, data set, model folder and output.

A lock is the system's own (flock, or its equivalent on Windows), so that it ends with its process,
however that ends. Its holder is recorded beside it and named in the error that others get.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from captune.errors import OutputError
from captune.storage.atomic_files import STATE_FOLDER, cannot_write
from captune.suggest import name_program, quote_words

if TYPE_CHECKING:
    # Imported when a lock is taken: `captune --help` takes none.
    from filelock import FileLock

_MAX_COMMAND = 200
_holders: dict[Path, int] = {}
"""The locks that this process holds, each with the thread that took it."""


@contextmanager
def lock_folder(
    folder: Path | None, *, purpose: str = "folder", wait: float = 0.0
) -> Iterator[None]:
    """Lock a folder for this process; a new folder is created, and removed again if unused.

    Args:
        folder: A run's folder, or any folder that one command fills; `None`: lock nothing.
        purpose: What is written; locks for other purposes do not conflict.
        wait: Seconds to wait for another holder.

    Raises:
        OutputError: Another process holds the lock (named), or the folder cannot be written, or
            is a file.
    """
    if folder is None:
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file", fix="give a folder")
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with _held(folder / STATE_FOLDER / purpose, folder, wait=wait):
            yield
    finally:
        # A command that is refused later leaves nothing behind.
        with suppress(OSError):
            for place in new:
                place.rmdir()


def holds_folder(folder: Path, *, purpose: str = "folder") -> bool:
    """Return whether this thread holds the lock of a folder (a caller took it)."""
    return _holders.get(_identify(folder / STATE_FOLDER / purpose)) == threading.get_ident()


def is_locked(folder: Path, *, purpose: str = "folder") -> bool:
    """Return whether any process holds the lock of a folder; nothing is created for it."""
    place = folder / STATE_FOLDER / f"{purpose}.lock"
    if not place.is_file():
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(place, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a file that this process writes; the lock is kept in `.captune` beside it.

    Raises:
        OutputError: Another process holds the lock (named), or the folder cannot be written.
    """
    with _held(path.parent / STATE_FOLDER / path.name, path, wait=0.0):
        yield


@contextmanager
def _held(place: Path, what: Path, *, wait: float) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(place.with_name(f"{place.name}.lock"), thread_local=False)
    note = place.with_name(f"{place.name}.holder")
    _acquire(lock, what, note=note, wait=wait)
    key = _identify(place)
    _holders[key] = threading.get_ident()
    try:
        with suppress(OSError):
            note.write_text(json.dumps(_own_name()), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        _holders.pop(key, None)
        _release(lock)
        with suppress(OSError):
            place.parent.rmdir()


def _identify(place: Path) -> Path:
    """Return one name for a lock, whichever path leads to it."""
    return place.resolve()


def _acquire(lock: FileLock, what: Path, *, note: Path, wait: float) -> None:
    from filelock import Timeout

    place = Path(lock.lock_file)
    try:
        for attempt in (1, 2, 3):
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=wait, poll_interval=0.2)
                return
            except FileNotFoundError:
                # Another process has just removed the empty folder.
                if attempt == 3:
                    raise
    except Timeout as error:
        raise OutputError(
            f"{what} is in use by {_read_holder(note)}",
            fix="wait until it ends, or choose another folder (--out)",
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = error if isinstance(error, OSError) else OSError(str(error))
        raise cannot_write(what, reason) from error


def _release(lock: FileLock) -> None:
    place = Path(lock.lock_file)
    with suppress(OSError):
        # While it is held: filelock notices that the file it locked has been deleted.
        # Windows refuses this; there, it is deleted below.
        place.unlink()
    lock.release()
    if os.name == "nt":
        with suppress(OSError):
            place.unlink()


def _own_name() -> dict[str, object]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    command = quote_words(*name_program(sys.argv))[:_MAX_COMMAND]
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}


def _read_holder(note: Path) -> str:
    try:
        holder = dict(json.loads(note.read_text(encoding="utf-8")))
        command = f" ({holder['command']})" if holder.get("command") else ""
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}{command}"
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        # The holder is just being written or deleted.
        return "another process"
