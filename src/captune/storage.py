"""Atomic writes: a file is written to a temporary place, synced and renamed.

Writing the final file in place left it broken in 56 of 60 kills; this way in none. The module is
also the home of the cache folder, of JSON lines, and of the reason why a write failed. Whole
folders are in folders.py, locks in locks.py.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from captune.errors import DataError, OutputError

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


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON that every parser reads, whole: NaN and infinities become null.

    Raises:
        OutputError: The place cannot be written.
    """
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    r"""Write one JSON object per line, whole; NaN and infinities become null.

    Plain ASCII with `\u` escapes where a text holds a lone surrogate (a file name that is not
    UTF-8), so that every reader can decode the file.

    Raises:
        OutputError: The place cannot be written.
    """
    write_text(path, "".join(json_line(row) for row in rows))


def append_jsonl(path: Path, row: Mapping[str, object], *, then: str = RUN_AGAIN) -> None:
    """Add one JSON object to a JSONL file; NaN and infinities become null.

    Raises:
        OutputError: The place cannot be written, or the disk is full.
    """
    try:
        with path.open("ab") as file:
            file.write(json_line(row).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise cannot_write(path, error, then=then) from error


def json_line(row: Mapping[str, object]) -> str:
    """Return one object as a line of a JSONL file, as `write_jsonl` writes it."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # Rare, and looking for it first would cost every row of a large data set.
        return json_line({key: _finite(value) for key, value in row.items()})
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(row)
    return line + "\n"


def read_json_object(path: Path, *, fix: str) -> dict[str, Any]:
    """Read a JSON object that captune wrote.

    Args:
        path: The file.
        fix: How to get another one; goes into the error.

    Raises:
        DataError: The file is missing, cannot be read, or does not hold a JSON object.
    """
    return _parse_object(_read_text(path, fix=fix), where=str(path), fix=fix)


def read_json_objects(path: Path, *, fix: str) -> list[dict[str, Any]]:
    """Read the JSON objects of a JSONL file that captune wrote, one per line; blank lines go.

    Raises:
        DataError: The file is missing, cannot be read, or a line is not a JSON object.
    """
    # Not `splitlines`: captions may hold other line ends, which JSON leaves as they are.
    lines = enumerate(_read_text(path, fix=fix).split("\n"), start=1)
    return [
        _parse_object(line, where=f"{path}, line {number}", fix=fix)
        for number, line in lines
        if line.strip()
    ]


def whole_json_objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a JSONL text; what a kill has cut, or garbage, is dropped."""
    objects = []
    for line in text.split("\n"):
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                objects.append(value)
    return objects


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


def _read_text(path: Path, *, fix: str) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", fix=fix) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: it is not UTF-8", fix=fix) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", fix=fix) from error


def _parse_object(text: str, *, where: str, fix: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"damaged, not JSON: {reason}", where=where, fix=fix) from error
    if not isinstance(value, dict):
        raise DataError(f"damaged, not a JSON object: {text[:60]!r}", where=where, fix=fix)
    return value


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
