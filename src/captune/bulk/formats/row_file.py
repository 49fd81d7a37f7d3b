"""All captions in one JSONL or CSV file, written atomically, however often the run is killed.

During the run, rows are appended to `captions.jsonl.part` beside the file; the journal records how
many bytes of it are committed. At the end, the file is written and the part is deleted.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal

from captune.bulk.items import CaptionedItem
from captune.errors import OutputError
from captune.inference import csv_text, parse_csv, prediction_row
from captune.storage import (
    RESUMES,
    TextSet,
    cannot_read,
    cannot_write,
    json_line,
    open_atomic,
    refuse_special,
    sync_folder,
)
from captune.suggest import format_count

RowFileName = Literal["jsonl", "csv"]
_OTHER = "holds something other than captions"


class RowFile:
    """One file of captions, and the `.part` file that grows beside it.

    Attributes:
        name: `jsonl` or `csv`; under any other name, the part holds JSON lines.
        path: The finished file.
        part_path: The unfinished one.
    """

    def __init__(self, name: RowFileName | Literal["parquet"], path: Path) -> None:
        """Keep the path; nothing is opened yet."""
        self.name: str = name
        self.path, self.part_path = path, Path(f"{path}.part")
        self._temporary = path.with_name(f".{path.name}.new.part")
        self._part: IO[bytes] | None = None
        self._keep_earlier = True

    def earlier_names(self) -> Iterable[str]:
        """See `CollectedFormat.earlier_names`."""
        for row, _ in self._earlier_rows():
            yield str(row["image_id"])

    def finished_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield each row of the finished file.

        Raises:
            OutputError: It holds something other than captions.
        """
        for row, _ in self._earlier_rows():
            yield row

    def resume(self, state: bytes | None, *, keep_earlier: bool) -> bytes:
        """See `CollectedFormat.resume`."""
        if self.path.is_dir():
            raise OutputError(
                f"{self.path} is a folder", where="--out", fix="give the name of a file in it"
            )
        refuse_special(self.path)
        refuse_special(self.part_path)
        self._keep_earlier = keep_earlier
        length = int(state or b"0")
        try:
            self.part_path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.unlink(missing_ok=True)
            self._part = self.part_path.open("r+b" if self.part_path.exists() else "x+b")
            # The journal commits what is in it: after a power cut, its name must be there.
            sync_folder(self.part_path.parent)
            size = self._part.seek(0, os.SEEK_END)
            if size >= length and (state is not None or size == 0):
                self._part.truncate(length)
                self._part.seek(length)
                return str(length).encode()
        except OSError as error:
            raise cannot_write(self.part_path, error) from error
        self.close()
        if state is None:
            raise OutputError(
                f"{self.part_path} is not part of a run in the journal",
                fix="move it, or choose another --out",
            )
        raise OutputError(
            f"{self.part_path} lacks rows that were written to it",
            fix="put the file back, or caption everything again with --existing overwrite",
        )

    def add(self, rows: Sequence[CaptionedItem]) -> bytes:
        """See `CollectedFormat.add`; the state is the part's length."""
        if self._part is None:
            raise ValueError("call resume before add")
        texts = [prediction_row(row.prediction) for row in rows]
        if self.name == "csv":
            content = csv_text(texts, with_header=False)
        else:
            content = "".join(map(json_line, texts))
        try:
            self._part.write(content.encode("utf-8", "surrogateescape"))
            self._part.flush()
            os.fsync(self._part.fileno())
            return str(self._part.tell()).encode()
        except OSError as error:
            raise cannot_write(self.part_path, error, then=RESUMES) from error

    def finish(self) -> None:
        """See `CollectedFormat.finish`; without new rows, an existing file stays as it is."""
        if self._part is None:
            raise ValueError("call resume before finish")
        if self._part.tell() or not self.path.exists():
            new = self._new_names() if self._keep_earlier and self.path.exists() else TextSet()
            with open_atomic(self.path, temporary=self._temporary) as file:
                self._write_all(file, self._part, new=new)
            try:
                # A power cut must not undo the rename and keep the deletion of the part.
                sync_folder(self.path.parent)
            except OSError as error:
                raise cannot_write(self.path, error, then=RESUMES) from error
        self.close()
        self.part_path.unlink(missing_ok=True)

    def is_finished(self) -> bool:
        """See `CollectedFormat.is_finished`; deleting the part is the last step."""
        return self.path.exists() and not self.part_path.exists()

    def discard(self) -> None:
        """See `CollectedFormat.discard`."""
        self.close()
        try:
            self.part_path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.part_path, error) from error

    def finished_files(self) -> Sequence[Path]:
        """See `CollectedFormat.finished_files`."""
        return (self.path,)

    def close(self) -> None:
        """See `CollectedFormat.close`; an empty part is deleted."""
        if self._part is None:
            return
        is_empty = False
        # A full disk would raise once more here and hide the first error.
        with suppress(OSError):
            is_empty = self._part.seek(0, os.SEEK_END) == 0
            self._part.close()
        self._part = None
        if is_empty:
            self.part_path.unlink(missing_ok=True)

    def _new_names(self) -> TextSet:
        names = TextSet()
        if self._part is not None:
            self._part.seek(0)
            for row, _ in rows_of(self._part, self.name, path=self.path):
                names.add(str(row["image_id"]))
        return names

    def _write_all(self, file: IO[bytes], part: IO[bytes], *, new: TextSet) -> None:
        """Write the finished file: earlier rows not among the new ones, then the new rows."""
        if self.name == "csv":
            file.write(csv_text([], with_header=True).encode())
        if self._keep_earlier:
            self._copy_earlier(file, but=new)
        part.seek(0)
        while block := part.read(1 << 17):
            file.write(block)

    def _copy_earlier(self, file: IO[bytes], *, but: TextSet) -> None:
        for row, text in self._earlier_rows():
            if str(row["image_id"]) not in but:
                file.write(text.encode("utf-8", "surrogateescape"))

    def _earlier_rows(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        try:
            with self.path.open("rb") as file:
                yield from rows_of(file, self.name, path=self.path, has_header=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            fix = "make it readable, or choose another --out"
            raise cannot_read(self.path, error, where="--out", fix=fix) from error


def rows_of(
    file: IO[bytes], name: str, *, path: Path, has_header: bool = False
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each row with its text as written, one at a time: a file may hold millions.

    Raises:
        OutputError: The file holds something other than captions.
    """
    lines = (
        line.decode("utf-8-sig" if not at else "utf-8", "surrogateescape")
        for at, line in enumerate(file)
    )
    number = 0
    try:
        for row, text in _csv_rows(lines, has_header) if name == "csv" else _json_rows(lines):
            if "caption" not in row or not str(row["image_id"]):
                raise ValueError("no caption")
            yield row, text
            number += 1
    except (ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        after = f" after {format_count(number, 'row')}" if number else ""
        raise OutputError(
            f"{path} {_OTHER}{after}",
            where="--out",
            fix="choose another file, or overwrite this one with --force",
        ) from error


def _json_rows(lines: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    # `json.loads` takes half as long again, and a resumed run reads all rows of its output.
    decode = json.JSONDecoder().raw_decode
    for line in lines:
        content = line.strip()
        if content:
            row, end = decode(content)
            if end != len(content) or not isinstance(row, dict):
                raise ValueError("not one object")
            yield row, line if line.endswith("\n") else f"{line}\n"


def _csv_rows(lines: Iterable[str], has_header: bool) -> Iterator[tuple[dict[str, Any], str]]:
    # A quoted cell may hold line breaks: a row ends where its quotes are closed. They are counted
    # once per line: an edit may leave one that is never closed, in a file of a million rows.
    header = csv_text([], with_header=True)
    pieces, quotes = [] if has_header else [header], 0
    is_first = has_header
    for line in lines:
        pieces.append(line)
        quotes += line.count('"')
        if quotes % 2:
            continue
        text, pieces = "".join(pieces), []
        if is_first:
            parse_csv(text)
            is_first = False
            continue
        full = text if text.startswith(header) else header + text
        for row in parse_csv(full):
            yield row, csv_text([row], with_header=False)
    if "".join(pieces).strip() and pieces != [header]:
        raise ValueError("a row is not complete")
