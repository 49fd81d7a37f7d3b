"""Text files of data sets, in whatever encoding the tool that wrote them left.

Spreadsheets write UTF-8 with a byte-order mark, UTF-16, or Windows-1252; reading the first as
plain UTF-8 turns the column `image` into one that nobody asked for.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.errors import DataError

LFS_MARK = b"version https://git-lfs"
"""What a Git LFS pointer, left where a file should be, starts with."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, *, notes: list[str] | None = None) -> str:
    """The text of a file, without a byte-order mark and with line feeds as line ends.

    Args:
        path: The file.
        notes: Gets a sentence when the file is not UTF-8.

    Raises:
        DataError: The file cannot be read, or is a Git LFS pointer.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if content.startswith(LFS_MARK):
        raise DataError(
            f"{path} is a Git LFS pointer, not the file itself", fix="fetch it: `git lfs pull`"
        )
    text, is_utf8 = _decode(content)
    if not is_utf8 and notes is not None:
        notes.append(f"{path.name} is not UTF-8; it was read as Windows-1252")
    return text


def decode_text(content: bytes) -> str:
    """The text of bytes in whatever encoding, with line feeds as line ends."""
    return _decode(content)[0]


def _decode(content: bytes) -> tuple[str, bool]:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text, is_utf8 = content.decode(encoding), True
    except UnicodeDecodeError:
        text, is_utf8 = content.decode("cp1252", errors="replace"), False
    return text.replace("\r\n", "\n").replace("\r", "\n"), is_utf8


def read_head(path: Path, *, size: int = 65_536) -> str:
    """The first bytes of a file as text, for looking at; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(size)
    except OSError:
        return ""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        DataError: The file is not JSON; the line is named.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise explain_json(error, text, where=str(path)) from error


def explain_json(
    error: json.JSONDecodeError | RecursionError, text: str, *, where: str
) -> DataError:
    """What is wrong with a JSON text, and in which line."""
    if isinstance(error, RecursionError):
        return DataError(f"{where} is nested too deeply to be a data set")
    comma = _find_trailing_comma(text, error.pos)
    line = error.lineno if comma is None else text.count("\n", 0, comma) + 1
    what = error.msg if comma is None else "a comma before the closing bracket"
    return DataError(
        f"{where} is not JSON: {what}", where=f"{where}, line {line}", fix="mend that line"
    )


def _find_trailing_comma(text: str, place: int) -> int | None:
    """Where the comma is that a reader stumbled over; `None` when it was something else."""
    # Python before 3.13 points behind the comma, later ones at it.
    before = text[: place + 1].rstrip() if text[place : place + 1] == "," else text[:place].rstrip()
    after = text[len(before) :].lstrip()
    return len(before) - 1 if before.endswith(",") and after.startswith(("]", "}")) else None


def read_jsonl(path: Path, *, notes: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """Line number (from 1) and object of each line that is not blank.

    Raises:
        DataError: A line is not a JSON object; the line is named.
    """
    for number, line in enumerate(_iter_lines(path, notes=notes), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"a line is not JSON: {error.msg}", where=where) from error
        except RecursionError as error:
            raise DataError("a line is nested too deeply", where=where) from error
        if not isinstance(value, dict):
            raise DataError(f"a line is not a JSON object: {line[:60]!r}", where=where)
        yield number, value


def _iter_lines(path: Path, *, notes: list[str] | None) -> Iterator[str]:
    # A line at a time: records of a million images are gigabytes of text.
    try:
        with path.open("rb") as file:
            head = file.read(40)
            file.seek(0)
            if any(head.startswith(mark) for mark, name in _MARKS if name == "utf-16") or (
                head.startswith(LFS_MARK)
            ):
                yield from read_text(path, notes=notes).split("\n")
                return
            for raw in file:
                try:
                    yield raw.decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    raise DataError(f"{path} is not UTF-8: {error.reason}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
