"""Free disk space while `datasets` writes its copy, which is as large as a data set unpacks to.

Few data sets announce their size, and a small archive may unpack to terabytes. So the announced
size is compared with the free space, and a thread stops the writing before the disk is full.
"""

from __future__ import annotations

import _thread
import errno
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from captune.errors import DataError, error_chain
from captune.suggest import format_bytes

RESERVE = 2**30
"""Bytes that stay free on the disk."""

_LOOK_EVERY = 0.2
_FIX = (
    "free some disk space, set HF_HOME to a folder on another disk, or read the data set without"
    " keeping it: data.streaming: true (--streaming)"
)


class _DiskFullError(Exception):
    """The free space has reached the reserve."""


def require_room(folder: Path, num_bytes: int, *, what: str) -> None:
    """Refuse to write more than a disk can hold.

    Args:
        folder: Will hold the files; it may not exist yet.
        num_bytes: Announced size; 0: unknown.
        what: The data set, for the error.

    Raises:
        DataError: There is less free space.
    """
    free = _free_bytes(folder)
    if num_bytes > free:
        raise DataError(
            f"{what} needs {format_bytes(num_bytes)} of disk space in {folder}, where"
            f" {format_bytes(free)} are free",
            fix=_FIX,
        )


@contextmanager
def keep_reserve(folder: Path, *, what: str) -> Iterator[None]:
    """Stop the body, which writes into a folder, before it fills the disk.

    The body runs in the main thread: other threads cannot be interrupted, and are not watched.

    Raises:
        DataError: The free space has reached 1 GiB, or half of what was free if that was less.
    """
    ended, is_full = threading.Event(), threading.Event()
    before = _free_bytes(folder)
    reserve = min(RESERVE, before // 2)

    def look() -> None:
        while not ended.wait(_LOOK_EVERY):
            if _free_bytes(folder) < reserve:
                is_full.set()
                _thread.interrupt_main(signal.SIGTERM)
                return

    watch = threading.Thread(target=look, name="captune-disk", daemon=True)
    with _raising(_DiskFullError):
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            if is_full.is_set() or _ran_out(sys.exception()):
                left = _free_bytes(folder)
                raise DataError(
                    f"{what} fills the disk of {folder}: {format_bytes(left)} are free, of"
                    f" {format_bytes(before)} before",
                    fix=_FIX,
                )


@contextmanager
def _raising(error: type[Exception]) -> Iterator[None]:
    """Raise the error where SIGTERM is simulated in the body."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise error

    own = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if own is None else own)


def _ran_out(error: BaseException | None) -> bool:
    """Return whether the system refused to write for lack of space; `datasets` wraps its error."""
    causes = () if error is None else error_chain(error)
    return any(isinstance(each, OSError) and each.errno == errno.ENOSPC for each in causes)


def _free_bytes(folder: Path) -> int:
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(existing).free
