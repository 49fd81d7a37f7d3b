"""JSON and JSON lines as captune writes and reads them: valid for every parser."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from captune.errors import DataError
from captune.storage.atomic_files import (
    RUN_AGAIN,
    cannot_write,
    open_atomic,
    refuse_special,
    write_text,
)
from captune.storage.regular_files import fix_reading, refuse_irregular

_LINES = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON atomically; NaN and infinities become null, so that every parser reads it.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    r"""Write one JSON object per line, atomically; NaN and infinities become null.

    A line is plain ASCII with `\u` escapes if a text holds a lone surrogate (a file name that is
    not UTF-8), so that every reader can decode the file.

    Raises:
        OutputError: The file cannot be written.
    """
    # Line by line: a million records are gigabytes of text.
    with open_atomic(path) as file:
        file.writelines(json_line(row).encode("utf-8", "surrogateescape") for row in rows)


def append_jsonl(path: Path, row: Mapping[str, object], *, then: str = RUN_AGAIN) -> None:
    """Add one JSON object to a JSONL file; NaN and infinities become null.

    Raises:
        OutputError: The file cannot be written, is a pipe or a device, or the disk is full.
    """
    # Opening a pipe waits for its reader, perhaps forever.
    refuse_special(path)
    try:
        with path.open("ab") as file:
            file.write(json_line(row).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise cannot_write(path, error, then=then) from error


def json_line(row: Mapping[str, object]) -> str:
    """Return one object as a line of a JSONL file, as `write_jsonl` writes it."""
    try:
        line = _LINES.encode(row)
    except ValueError:
        # Rare, and checking first would cost time for every row of a large data set.
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
        fix: How to get another one; part of the error.

    Raises:
        DataError: The file is missing, cannot be read, or does not hold a JSON object.
    """
    return _parse_object(_read_text(path, fix=fix), where=str(path), fix=fix)


def read_json_objects(path: Path, *, fix: str) -> list[dict[str, Any]]:
    """Read the JSON objects of a JSONL file that captune wrote, one per line; skip blank lines.

    Raises:
        DataError: The file is missing, cannot be read, or a line is not a JSON object.
    """
    # Not `splitlines`: captions may hold other line breaks, which JSON leaves as they are.
    lines = enumerate(_read_text(path, fix=fix).split("\n"), start=1)
    return [
        _parse_object(line, where=f"{path}, line {number}", fix=fix)
        for number, line in lines
        if line.strip()
    ]


def iter_json_lines(path: Path, *, fix: str) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    """Yield first byte, end and object of each line of a JSONL file that captune wrote.

    The end is that of the object, without the line feed; blank lines are skipped.

    Raises:
        DataError: The file is missing, cannot be read, or a line is not a JSON object.
    """
    end = 0
    try:
        refuse_irregular(path, fix=fix)
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                start, end = end, end + len(raw)
                line = raw.decode("utf-8").removesuffix("\n")
                if line.strip():
                    where = f"{path}, line {number}"
                    found = _parse_object(line, where=where, fix=fix)
                    yield (start, end - raw.endswith(b"\n")), found
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, fix=fix) from error


def intact_json_objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a JSONL text; drop truncated and damaged lines."""
    objects = []
    for line in text.split("\n"):
        with suppress(ValueError, RecursionError):
            value = json.loads(line)
            if isinstance(value, dict):
                objects.append(value)
    return objects


def _read_text(path: Path, *, fix: str) -> str:
    try:
        refuse_irregular(path, fix=fix)
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error, fix=fix) from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError, *, fix: str) -> DataError:
    if isinstance(error, UnicodeDecodeError):
        return DataError(f"{path} is damaged: it is not UTF-8", fix=fix)
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is missing", fix=fix)
    what = f"cannot read {path}: {error.strerror or error}"
    return DataError(what, fix=fix_reading(error, damaged=fix))


def _parse_object(text: str, *, where: str, fix: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"damaged, not JSON: {error}", where=where, fix=fix) from error
    if not isinstance(value, dict):
        raise DataError(f"damaged, not a JSON object: {text[:60]!r}", where=where, fix=fix)
    return value


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
