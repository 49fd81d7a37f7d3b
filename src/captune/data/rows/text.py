"""Text files of data sets, in whatever encoding they were written.

Spreadsheets write UTF-8 with a byte-order mark, UTF-16, or Windows-1252; reading the first as
plain UTF-8 renames the column `image`. Chinese, Japanese or Cyrillic text in an encoding of its own
would pass for Windows-1252, as captions of accents and signs; it is refused. An untrusted file may
also be a pipe, one line of gigabytes or a number of thousands of digits: each has a limit, which
the error states.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from captune.errors import CHECK_DISK, DataError
from captune.storage import find_encoding, open_regular

LFS_MARK = b"version https://git-lfs"
"""Start of a Git LFS pointer, which may be in place of a file."""

MAX_LINE_BYTES = 64 * 2**20
"""Maximum length of a line, which is held in memory several times over."""

MAX_FILE_BYTES = 2 * 2**30
"""Maximum size of a file that has to be read whole."""

_CHUNK = 2**20

_ABOVE_ASCII = bytes(range(128, 256))
_NEIGHBOURS = re.compile(rb"[\x80-\xff]{2,}")
_FEW_LETTERS = 8
"""Bytes above ASCII from which an encoding is judged: `créée` has two, side by side."""


def read_text(path: Path, *, notes: list[str] | None = None) -> str:
    """Return the text of a file, without a byte-order mark and with line feeds as line ends.

    Args:
        path: The file.
        notes: A sentence is appended when the file is not UTF-8.

    Raises:
        DataError: The file cannot be read, is too large, is a Git LFS pointer, or has an encoding
            that is neither UTF-8, UTF-16, UTF-32 nor Windows-1252.
    """
    _refuse_large(path)
    return "".join(iter_lines(path, notes=notes))


def iter_lines(path: Path, *, notes: list[str] | None = None) -> Iterator[str]:
    """Yield the lines of a text file of any size, each with its line feed.

    Args:
        path: The file.
        notes: A sentence is appended when the file is not UTF-8.

    Raises:
        DataError: The file cannot be read, has a line over 64 MiB, is a Git LFS pointer, or has an
            encoding that is neither UTF-8, UTF-16, UTF-32 nor Windows-1252.
    """
    encoding = _find_encoding(path)
    if encoding == "cp1252":
        _refuse_unknown_encoding(path)
    if encoding == "cp1252" and notes is not None:
        notes.append(
            f"{path.name} is not UTF-8; it was read as Windows-1252: if its captions look wrong,"
            " convert it to UTF-8"
        )
    errors = "replace" if encoding == "cp1252" else "strict"
    try:
        with path.open(encoding=encoding, errors=errors) as file:
            yield from file
    except (OSError, UnicodeError) as error:
        raise _cannot_read(path, error) from error


def decode_text(content: bytes, *, where: str) -> str:
    """Return bytes in any known encoding as text, with line feeds as line ends.

    Args:
        content: The bytes.
        where: What they are, for errors.

    Raises:
        DataError: They are neither UTF-8, UTF-16, UTF-32 nor Windows-1252.
    """
    try:
        text = content.decode(find_encoding(content))
    except UnicodeDecodeError as error:
        if not _may_be_western([content]):
            raise _unknown_encoding(where, line=content.count(b"\n", 0, error.start) + 1) from error
        text = content.decode("cp1252", errors="replace")
    # Replacing copies the text, which may have gigabytes.
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def replace_half_letters(text: str, *, errors: str = "strict") -> str:
    """Return text that UTF-8 can hold: half an emoji, left by a length limit, becomes U+FFFD.

    Args:
        text: The text.
        errors: `surrogateescape`: bytes of file names that are not UTF-8 stay.
    """
    if text.isascii():
        return text
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        # Tokenizers, files and hashes refuse it.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def read_head(path: Path, *, size: int = 65_536) -> str:
    """Return the first bytes of a file as text, for a quick look; empty if it cannot be read."""
    try:
        with open_regular(path) as file:
            content = file.read(size)
    except (DataError, OSError):
        return ""
    text = content.decode(find_encoding(content), errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def mentions(path: Path, word: str) -> bool:
    """Return whether a word occurs in a text file, which is not decoded; unreadable: `False`."""
    rest = b""
    try:
        with open_regular(path) as file:
            kind = find_encoding(file.read(4)).removesuffix("-sig")
            ends = ("-le", "-be") if kind != "utf-8" else ("",)
            words = [word.encode(kind + end) for end in ends]
            while chunk := file.read(_CHUNK):
                if any(each in rest + chunk for each in words):
                    return True
                rest = chunk[-len(words[0]) :]
    except (DataError, OSError):
        return False
    return False


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; COCO's are a single line of 90 MB.

    Raises:
        DataError: The file is not JSON, with the line, or is too large.
    """
    _refuse_large(path)
    with open_regular(path) as file:
        try:
            content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise _cannot_read(path, error.strerror or error) from error
    if content.startswith(LFS_MARK):
        raise _explain_pointer(path)
    return parse_json(decode_text(content, where=str(path)), where=str(path))


def parse_json(text: str, *, where: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text.
        where: Its name in errors.

    Raises:
        DataError: It is not JSON, nested too deeply, or holds a number of too many digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _explain_json(error, text, where=where) from error
    except RecursionError as error:
        raise DataError(
            f"{where} is nested too deeply to be a data set",
            fix="check the tool that wrote it: captions need no deep nesting",
        ) from error
    except ValueError as error:
        # Python refuses whole numbers of more than 4,300 digits.
        raise DataError(
            f"{where} contains a number with too many digits",
            where=where,
            fix="write it as text, in quotes",
        ) from error


def _explain_json(error: json.JSONDecodeError, text: str, *, where: str) -> DataError:
    comma = _find_trailing_comma(text, error.pos)
    line = error.lineno if comma is None else text.count("\n", 0, comma) + 1
    what = error.msg if comma is None else "a comma before the closing bracket"
    return DataError(
        f"{where} is not JSON: {what}", where=f"{where}, line {line}", fix="fix that line"
    )


def _find_trailing_comma(text: str, place: int) -> int | None:
    """Return the position of the trailing comma at fault; `None`: the fault is something else."""
    # Python before 3.13 points behind the comma, later versions at it.
    before = text[: place + 1].rstrip() if text[place : place + 1] == "," else text[:place].rstrip()
    after = text[len(before) :].lstrip()
    return len(before) - 1 if before.endswith(",") and after.startswith(("]", "}")) else None


def read_jsonl(path: Path, *, notes: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield line number (from 1) and object of each line that is not blank.

    Raises:
        DataError: A line is not a JSON object; the line is named.
    """
    for number, line in enumerate(_iter_records(path, notes=notes), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = parse_json(line, where="a line")
        except DataError as error:
            raise DataError(error.what, where=where, fix=error.fix) from error
        if not isinstance(value, dict):
            raise DataError(
                f"a line is not a JSON object: {line[:60]!r}",
                where=where,
                fix='write one object per line: {"image": "a.jpg", "caption": "a dog"}',
            )
        yield number, value


def _iter_records(path: Path, *, notes: list[str] | None) -> Iterator[str]:
    # Read once, line by line: records of a million images are gigabytes of text.
    with open_regular(path) as file:
        try:
            head = file.read(40)
            file.seek(0)
        except OSError as error:
            raise _cannot_read(path, error.strerror or error) from error
        is_plain = find_encoding(head) in ("utf-8", "utf-8-sig") and not head.startswith(LFS_MARK)
        number = 0
        while is_plain and (raw := _read_line(file, path)):
            number += 1
            try:
                yield raw.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                where = f"{path}, line {number}"
                raise DataError(
                    f"{path} is not UTF-8: {error.reason}",
                    where=where,
                    fix="convert the file to UTF-8",
                ) from error
    if not is_plain:
        yield from iter_lines(path, notes=notes)


def _read_line(file: IO[bytes], path: Path) -> bytes:
    try:
        raw = file.readline(MAX_LINE_BYTES + 1)
    except OSError as error:
        raise _cannot_read(path, error.strerror or error) from error
    if len(raw) > MAX_LINE_BYTES:
        raise _long_line(path)
    return raw


def _find_encoding(path: Path) -> str:
    """Read a file once in pieces and return its encoding; long lines are refused."""
    with open_regular(path) as file:
        try:
            chunk = file.read(_CHUNK)
            if chunk.startswith(LFS_MARK):
                raise _explain_pointer(path)
            encoding = find_encoding(chunk)
            decoder = codecs.getincrementaldecoder(encoding)()
            length, is_valid = 0, True
            while chunk:
                length = _measure_line(chunk, length, path=path)
                is_valid = is_valid and _can_decode(decoder, chunk)
                chunk = file.read(_CHUNK)
            return encoding if is_valid and _can_decode(decoder, b"", final=True) else "cp1252"
        except OSError as error:
            raise _cannot_read(path, error.strerror or error) from error


def _refuse_unknown_encoding(path: Path) -> None:
    """Refuse a file that is not UTF-8 and whose letters are not those of a western language."""
    with open_regular(path) as file:
        try:
            if _may_be_western(iter(lambda: file.read(_CHUNK), b"")):
                return
            file.seek(0)
            number = 1
            for line in file:
                line.decode("utf-8-sig")
                number += 1
        except UnicodeDecodeError as error:
            raise _unknown_encoding(str(path), line=number) from error
        except OSError as error:
            raise _cannot_read(path, error) from error


def _may_be_western(chunks: Iterable[bytes]) -> bool:
    """Return whether letters above ASCII stand alone, as accents do in Windows-1252.

    In encodings of other scripts, and in UTF-8, they stand side by side.
    """
    num_letters = num_neighbours = 0
    for chunk in chunks:
        num_letters += len(chunk) - len(chunk.translate(None, _ABOVE_ASCII))
        num_neighbours += sum(map(len, _NEIGHBOURS.findall(chunk)))
    return num_letters < _FEW_LETTERS or 2 * num_neighbours < num_letters


def _unknown_encoding(where: str, *, line: int) -> DataError:
    return DataError(
        f"{where} is neither UTF-8 nor Windows-1252: its letters would be read as others",
        where=f"{where}, line {line}",
        fix="save it as UTF-8 (Excel: 'CSV UTF-8'), or convert it: iconv -f GB18030 -t UTF-8 FILE"
        " (Chinese; SHIFT_JIS: Japanese, CP949: Korean, CP1251: Russian); if only that line is"
        " wrong, correct it",
    )


def _explain_pointer(path: Path) -> DataError:
    return DataError(
        f"{path} is a Git LFS pointer, not the file itself", fix="fetch it: `git lfs pull`"
    )


def _cannot_read(path: Path, reason: object) -> DataError:
    return DataError(f"cannot read {path}: {reason}", fix=CHECK_DISK)


def _measure_line(chunk: bytes, length: int, *, path: Path) -> int:
    """Return the length of the last, unfinished line; `length` is its part before the chunk."""
    end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
    # A chunk is shorter than the limit, so only a line that started before it can be too long.
    if length + len(chunk) > MAX_LINE_BYTES and end < 0:
        raise _long_line(path)
    return length + len(chunk) if end < 0 else len(chunk) - end - 1


def _can_decode(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _long_line(path: Path) -> DataError:
    return DataError(
        f"{path} has a line of more than {MAX_LINE_BYTES // 2**20} MiB",
        fix="check the tool that wrote it: a data set has one image or caption per line",
    )


def _refuse_large(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        # Reading it raises the error.
        return
    if size > MAX_FILE_BYTES:
        raise DataError(
            f"{path} has {size / 2**30:.1f} GiB; a file that has to be read whole may have at most"
            f" {MAX_FILE_BYTES // 2**30} GiB",
            fix="write the captions as JSONL or CSV, which are read line by line",
        )
