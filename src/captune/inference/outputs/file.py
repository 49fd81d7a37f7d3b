"""All captions in one JSONL or CSV file that appears whole, however often the run is killed.

While captions are made they go, line by line and synced, into a journal beside the file
(`captions.jsonl.part`). At the end the file is written aside and renamed, and the journal goes. A
run that was stopped finds the journal and goes on after its last whole line.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal, Self

from captune.errors import OutputError
from captune.inference.outputs.lines import csv_text, parse_csv, prediction_row
from captune.records import Prediction
from captune.storage import write_jsonl, write_text

FileFormat = Literal["jsonl", "csv"]


class CaptionFile:
    """Captions on their way into one file."""

    def __init__(
        self, path: Path, file_format: FileFormat, *, made_by: Mapping[str, object], force: bool
    ) -> None:
        """Opens the journal, so that a place that cannot be written is found before any work.

        Args:
            path: The file; captions that it holds are kept and their images skipped.
            file_format: `jsonl` or `csv`.
            made_by: Model and decoding; a journal that was made by others is not continued.
            force: Captions anew what the file holds, and goes on only with a journal of the same.

        Raises:
            OutputError: The place cannot be written, holds something else, or another run writes.
        """
        self.path, self.journal_path = path, Path(f"{path}.part")
        self._format, self._synced = file_format, 0.0
        old = [] if force else _read_rows(path, file_format)
        header = {"made_by": json.loads(json.dumps(made_by)), "anew": force}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = self.journal_path.open("a+b")
        except OSError as error:
            raise OutputError(
                f"cannot write {self.journal_path}: {error.strerror}", fix="choose another --out"
            ) from error
        try:
            _lock(self._journal, self.journal_path)
            new = self._resume(header)
        except OutputError:
            self._journal.close()
            raise
        # A run that was killed between writing the file and dropping the journal left both.
        replaced = {str(row["image_id"]) for row in new}
        self._rows = [row for row in old if str(row["image_id"]) not in replaced] + new
        self._known = {str(row["image_id"]) for row in self._rows}
        self._has_news = bool(new)

    def has(self, image_id: str) -> bool:
        """Whether the image is captioned already."""
        return image_id in self._known

    def write(self, prediction: Prediction) -> None:
        """Adds one caption to the journal.

        Raises:
            OutputError: The disk is full or gone.
        """
        row = prediction_row(prediction)
        self._append(row)
        self._rows.append(row)
        self._has_news = True

    def finish(self) -> None:
        """Writes the file whole; nothing new leaves it as it is.

        Raises:
            OutputError: The place cannot be written.
        """
        if self._has_news or not self.path.exists():
            if self._format == "jsonl":
                write_jsonl(self.path, self._rows)
            else:
                write_text(self.path, csv_text(self._rows, with_header=True))
        self._has_news = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the journal, and drops it unless it holds captions that the file does not."""
        self._journal.close()
        if not self._has_news:
            self.journal_path.unlink(missing_ok=True)

    def _resume(self, header: Mapping[str, object]) -> list[Mapping[str, Any]]:
        """The rows of an earlier run's journal; begins one where there is none to go on with."""
        self._journal.seek(0)
        # What follows the last line feed was cut by a kill.
        whole = self._journal.read().split(b"\n")[:-1]
        begun_by, rows = self._parse(whole) if whole else (None, [])
        if whole and begun_by == header:
            self._journal.truncate(sum(len(line) + 1 for line in whole))
            return rows
        if whole and not header["anew"]:
            raise OutputError(
                f"{self.journal_path} was begun with another model or decoding, or with --force",
                fix="give the same to go on, --force to start again, or another --out",
            )
        self._journal.truncate(0)
        self._append(header)
        return []

    def _parse(self, lines: Sequence[bytes]) -> tuple[object, list[Mapping[str, Any]]]:
        try:
            header, *rows = (json.loads(line) for line in lines)
            if "made_by" in header and all("image_id" in row for row in rows):
                return header, rows
        except (ValueError, TypeError):
            pass
        raise OutputError(
            f"{self.journal_path} is not a journal of captions",
            fix="move it away, or choose another --out",
        )

    def _append(self, row: Mapping[str, object]) -> None:
        try:
            # ASCII with escapes: file names may hold bytes that are not UTF-8.
            self._journal.write(json.dumps(row).encode("ascii") + b"\n")
            self._journal.flush()
            # A kill loses nothing that is flushed; a power cut loses a second at most.
            if time.monotonic() - self._synced > 1.0:
                os.fsync(self._journal.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise OutputError(
                f"cannot write {self.journal_path}: {error.strerror}",
                fix="make room and run the same command again: it goes on where it stopped",
            ) from error


def _read_rows(path: Path, file_format: FileFormat) -> list[Mapping[str, Any]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror}", where="--out") from error
    try:
        rows: list[Any] = (
            parse_csv(text)
            if file_format == "csv"
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
        if all(str(row["image_id"]) and "caption" in row for row in rows):
            return rows
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error):
        pass
    raise OutputError(
        f"{path} holds something else than captions",
        where="--out",
        fix="choose another file, or replace this one with --force",
    )


def _lock(journal: IO[bytes], path: Path) -> None:
    """One run a file; where the system has no such locks, the user has to see to it."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another run is writing {path}", fix="wait for it, or choose another --out"
            ) from error
        except OSError:
            return
