"""Files that a user names, opened only if reading them ends: not pipes, devices or folders."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from captune.errors import CHECK_DISK, CHECK_PATH, CaptuneError, DataError

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)

_KEPT_FROM_US = {errno.EACCES, errno.EPERM, errno.ELOOP}
_OF_THE_DISK = {errno.EIO} | {
    getattr(errno, name, errno.EIO) for name in ("ESTALE", "ENOTCONN", "ETIMEDOUT", "EREMOTEIO")
}


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read; pipes and devices, which may never end, are refused.

    Raises:
        DataError: It cannot be read, or is not a regular file.
    """
    try:
        refuse_irregular(path, fix="copy its content into a file first")
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}", fix=CHECK_PATH) from error


def has_regular(path: Path, *, fix: str) -> bool:
    """Return whether a file is there that can be read; nothing else may be in its place.

    Args:
        path: The file.
        fix: How to get another one; part of the error.

    Raises:
        DataError: There is a folder, a pipe, a device, a link that leads nowhere, or a file that
            cannot be opened.
    """
    # `exists` is false for a link that leads nowhere, and for what cannot be looked at.
    if not os.path.lexists(path):
        return False
    try:
        refuse_irregular(path, fix=fix)
        path.open("rb").close()
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or error}"
        raise DataError(what, fix=fix_reading(error, damaged=fix)) from error
    return True


def refuse_irregular(path: Path, error: type[CaptuneError] = DataError, *, fix: str) -> None:
    """Refuse what may never end when it is read, and folders.

    Args:
        path: What is about to be read.
        error: The error to raise.
        fix: Its advice.

    Raises:
        CaptuneError: It is not a regular file; of the given kind.
        OSError: There is nothing, or it cannot be looked at.
    """
    kind = name_kind(path)
    if kind is not None:
        raise error(f"{path} is {kind}, not a regular file", fix=fix)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the system's errors of reading it, which name one only when it is opened."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


def resolve_link(path: Path) -> Path:
    """Return what a link leads to, which may not exist yet; any other path as it is.

    Raises:
        OSError: The link leads to itself.
        RuntimeError: The same, on Windows with Python before 3.13.
    """
    if not path.is_symlink():
        return path
    try:
        path.stat()
    except OSError as error:
        # From Python 3.13 on, `resolve` returns a path for a loop.
        if error.errno == errno.ELOOP:
            raise
    return path.resolve()


def fix_reading(error: BaseException, *, damaged: str) -> str:
    """Return how to fix that a file cannot be read.

    Args:
        error: What reading it raised.
        damaged: How to replace the file. Where the system keeps it from captune, the file may be
            whole: to delete it or to write it again would cost its content.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in _KEPT_FROM_US:
        return CHECK_PATH
    return CHECK_DISK if number in _OF_THE_DISK else damaged


def is_folder_entry(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; links in a circle lead to nothing."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def name_kind(path: Path) -> str | None:
    """Return what a path is, such as `a pipe`; `None`: a regular file.

    Raises:
        OSError: There is nothing, or it cannot be looked at.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
