"""Atomic writes: a file is written to a temporary file, synced and renamed.

Writing the final file in place left it broken in 56 of 60 kills; this way none was. The cache
folder, portable names and the explanations of failed writes are here too.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from captune.errors import OTHER_DISK, OutputError
from captune.storage.environment import find_home, read_folder
from captune.suggest import format_bytes

STATE_FOLDER = ".captune"
"""Folder beside or inside what captune writes: locks, and what made a file of captions."""

MAX_NAME_BYTES = 255
"""Bytes of a file name, in all file systems in common use."""

_WINDOWS_LETTERS = re.compile(r'[<>:"|?*\x00-\x1f]')
_WINDOWS_DEVICES = {
    *("CON", "PRN", "AUX", "NUL"),
    *(f"{kind}{number}" for kind in ("COM", "LPT") for number in "123456789\u00b9\u00b2\u00b3"),
}
RUN_AGAIN = "run the same command again"
RESUMES = f"{RUN_AGAIN}: it resumes where it stopped"

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_NO_PERMISSION = "choose another path, or get permission to write there"
_FIXES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _NO_PERMISSION),
    errno.ENAMETOOLONG: "choose a shorter name",
}
# Windows error codes for a file that a program has open, or has mapped into memory.
_IN_USE = {32, 33, 1224}
# Windows error codes for a path that does not exist or is too long.
_TOO_LONG = {3, 206}
_MAX_WINDOWS_PATH = 260
# Length of `.captune-0123456789ab.part`.
_TEMPORARY_NAME = 26
# Files that a data set may consist of, and that captune writes beside none of its reports.
_DATA_SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet", ".arrow", ".tar", ".zip")
_SPECIAL = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def find_cache_folder() -> Path:
    """Return CAPTUNE_CACHE, else `captune` in the user's cache folder; the folder is not created.

    The user's cache folder is XDG_CACHE_HOME if it is an absolute path, `%LOCALAPPDATA%` on
    Windows, and `~/.cache` elsewhere, on macOS too, as for Hugging Face and torch. On Windows, a
    cache that an earlier version left in `~/.cache/captune` stays in use.

    Raises:
        OutputError: The home folder is needed and not known.
        EnvironmentValueError: A variable names the home of an unknown user.
    """
    own = read_folder("CAPTUNE_CACHE")
    if own is not None:
        return own
    shared = read_folder("XDG_CACHE_HOME")
    # Its specification has relative paths ignored: each current folder would get a cache.
    if shared is not None and shared.is_absolute():
        return shared / "captune"
    common = find_home(variable="CAPTUNE_CACHE") / ".cache" / "captune"
    local = os.environ.get("LOCALAPPDATA") if os.name == "nt" else None
    return common if local is None or common.is_dir() else Path(local) / "captune"


@contextmanager
def open_atomic(path: Path, *, temporary: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary binary file that replaces `path` when the block ends without an error.

    Args:
        path: The file.
        temporary: The temporary file, for a caller that is its only writer and removes what a kill
            leaves; `None`: one with a random name.

    Raises:
        OutputError: The file cannot be written, or is a device, a pipe or a socket.
    """
    refuse_special(path)
    mode = "x+b" if temporary is None else "w+b"
    temporary = temporary or path.with_name(f".captune-{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `mkstemp`: its files are private, and the result should be as readable as any other.
        file = temporary.open(mode)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees either the old content or all of the new.

    Raises:
        OutputError: The file cannot be written.
    """
    with open_atomic(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; undecodable bytes of file names are written unchanged.

    Raises:
        OutputError: The file cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def refuse_special(path: Path) -> None:
    """Refuse to write to a device, a pipe or a socket: captune writes regular files only.

    Raises:
        OutputError: The path is one of these, or on Windows a reserved name.
    """
    mode = 0
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
    kind = next((name for is_kind, name in _SPECIAL if is_kind(mode)), None)
    if os.name == "nt" and path.name and portable_name(path.name) != path.name:
        raise OutputError(
            f"Windows does not allow the file name {path.name}",
            fix=f"choose another name, such as {portable_name(path.name)}",
        )
    if str(path.parent) == "/dev" or str(path.parent).startswith(("/dev/fd", "/proc/")):
        # /dev/stdout is a regular file if the shell has redirected it.
        kind = kind or "in a folder of devices"
    if kind is not None:
        raise OutputError(
            f"{path} is {kind}, and captune writes regular files only",
            fix="give the name of a regular file; to pass captions to another program, use stdout"
            " (--to jsonl without --out), which the shell can redirect",
        )


def fold_name(name: str) -> str:
    """Return a name as Windows and macOS compare names: case folded, accents composed."""
    return unicodedata.normalize("NFC", name).casefold()


def portable_name(name: str) -> str:
    """Return a file name that every system accepts; most names stay as they are.

    Windows refuses `a:b` and control characters, treats `CON.txt` as a device, and drops trailing
    dots and spaces.
    """
    name = _WINDOWS_LETTERS.sub("_", name)
    if name.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        name = f"_{name}"
    return name.rstrip(". ") or "_"


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Refuse to overwrite anything that exists, unless `force` is set.

    Args:
        path: A file or folder to write.
        force: Whether files and folders may be overwritten; devices and pipes never are.

    Raises:
        OutputError: The path is a file, a folder that is not empty, or a special file.
    """
    refuse_special(path)
    if force or not os.path.lexists(path):
        return
    if path.is_dir() and all(entry.name == STATE_FOLDER for entry in path.iterdir()):
        return
    raise OutputError(f"{path} exists already", fix="choose another path, or give --force")


def check_files(
    *places: Path | None,
    inputs: Iterable[Path | None] = (),
    force: bool = False,
    creates_folders: bool = True,
) -> None:
    """Check, before any work, regular files that a command will write.

    Args:
        *places: Files to write; `None`: not requested.
        inputs: As for `check_outputs`.
        force: As for `check_outputs`.
        creates_folders: Whether the command creates the folders of files.

    Raises:
        OutputError: One is a folder, or its folder is not writable or may not be created; or
            `check_outputs` refuses one.
    """
    for place in places:
        if place is None:
            continue
        if place.is_dir():
            raise OutputError(f"{place} is a folder", fix="give the name of a file")
        folder = place.parent
        if not folder.is_dir() and not creates_folders:
            raise OutputError(
                f"the folder {folder} for {place.name} does not exist",
                fix="check the path, or create the folder",
            )
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            raise cannot_write(place, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    check_outputs(*places, inputs=inputs, force=force)


def check_outputs(
    *places: Path | None, inputs: Iterable[Path | None] = (), force: bool = False
) -> None:
    """Check, before any work, the files that a command will write.

    Args:
        *places: Files to write; `None`: not requested.
        inputs: Files that the command reads, and folders with such files: these are never
            overwritten.
        force: Whether existing files may be overwritten.

    Raises:
        OutputError: One exists already, is an input, or is named twice.
    """
    read = {os.path.realpath(path) for path in inputs if path is not None}
    folders = [Path(path) for path in read if os.path.isdir(path)]  # noqa: PTH112
    written: set[str] = set()
    for place in places:
        if place is None:
            continue
        real = os.path.realpath(place)
        inside = any(folder in Path(real).parents for folder in folders)
        if real in read or (inside and place.suffix.lower() in _DATA_SUFFIXES and place.exists()):
            raise OutputError(
                f"{place} is read by this command, and would be overwritten",
                fix="choose another path",
            )
        if real in written:
            raise OutputError(
                f"two options name {place}: one file would replace the other",
                fix="choose two paths",
            )
        written.add(real)
        refuse_existing(place, force=force)


def open_folder(folder: Path) -> None:
    """Create a folder if it does not exist, and check before any work that it is writable.

    Raises:
        OutputError: The folder cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise OutputError(
            f"cannot write to the folder {str(folder)!r}: {reason}",
            where="--out",
            fix="choose another folder with --out",
        )


def cannot_read(
    path: Path, error: OSError, *, where: str = "", fix: str = "make it readable, or move it"
) -> OutputError:
    """Return the error of an output that exists and cannot be read."""
    return OutputError(f"cannot read {path}: {error.strerror or error}", where=where, fix=fix)


def cannot_write(path: Path, error: OSError, *, then: str = RUN_AGAIN) -> OutputError:
    """Return the error of a failed write: the path, the system's reason, and how to fix it.

    Args:
        path: The file or folder that could not be written.
        error: The system's error.
        then: What to do once the cause is fixed.
    """
    what = f"cannot write {path}: {error.strerror or error}"
    if getattr(error, "winerror", None) in _IN_USE:
        return OutputError(what, fix=f"close the program that has it open, then {then}")
    if _is_too_long_for_windows(path, error):
        length = len(str(path.absolute()))
        return OutputError(
            f"{what}: this path has {length} characters; Windows allows {_MAX_WINDOWS_PATH - 1},"
            " including the names of files inside, unless long paths are enabled",
            fix="choose a folder with a shorter path, or enable long paths in Windows,"
            f" then {then}",
        )
    if error.errno in _FULL:
        return OutputError(what, fix=f"free some disk space{_free_space(path)}, then {then}")
    if error.errno == errno.EFBIG:
        return OutputError(what, fix=f"{OTHER_DISK}; then {then}")
    other = f"choose another path, or fix this one and {then}"
    return OutputError(what, fix=_FIXES.get(error.errno or 0, other))


def _is_too_long_for_windows(path: Path, error: OSError) -> bool:
    if getattr(error, "winerror", None) not in _TOO_LONG:
        return False
    # Windows reports a path that is too long as one that does not exist. Folders may be 12
    # characters shorter than files, and the temporary file's name may be longer than the file's.
    length = len(str(path.absolute().parent)) + 1 + max(len(path.name), _TEMPORARY_NAME)
    return length >= _MAX_WINDOWS_PATH - 12


def _free_space(path: Path) -> str:
    place = next((p for p in path.absolute().parents if p.is_dir()), None)
    with suppress(OSError):
        if place is not None:
            return f" ({format_bytes(shutil.disk_usage(place).free)} free)"
    return ""
