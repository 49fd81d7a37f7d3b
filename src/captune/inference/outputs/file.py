"""All captions in one JSONL or CSV file that appears whole, however often the run is killed.

While captions are made they go, line by line and synced, into a journal beside the file
(`captions.jsonl.part`). At the end the file is written whole and the journal is deleted. A run
that was stopped finds the journal and resumes after its last whole line. What made the file is
recorded beside it (maker.py): captions of two models, or of two ways of decoding, never share one.
"""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Literal, Self

from captune.errors import OutputError
from captune.inference.outputs.lines import csv_text, parse_csv, prediction_row
from captune.inference.outputs.maker import Maker, differences, read_maker, write_maker
from captune.records import Prediction
from captune.storage import cannot_write, lock_file, refuse_special, write_jsonl, write_text

FileFormat = Literal["jsonl", "csv"]


class CaptionFile:
    """Captions on their way into one file."""

    def __init__(self, path: Path, file_format: FileFormat, *, made_by: Maker, force: bool) -> None:
        """Open the journal, so that a place that cannot be written is found before any work.

        Args:
            path: The file; captions that it holds are kept and their images skipped.
            file_format: `jsonl` or `csv`.
            made_by: Model and decoding; what others made is not added to.
            force: Caption again what the file holds, and resume only a journal of the same.

        Raises:
            OutputError: The place cannot be written, holds something else or captions of another
                model or decoding, or another run writes.
        """
        self.path, self.journal_path = path, Path(f"{path}.part")
        self._format, self._synced = file_format, 0.0
        self._made_by: Maker = json.loads(json.dumps(made_by))
        _refuse_no_file(path)
        refuse_special(self.journal_path)
        with ExitStack() as held:
            held.enter_context(lock_file(path))
            old = [] if force else _read_rows(path, file_format)
            # A file of another captune, or of another program, says nothing of its model.
            self._is_of_unknown = bool(old) and not _was_made_by(path, self._made_by)
            try:
                self._journal = self.journal_path.open("a+b")
            except OSError as error:
                raise cannot_write(self.journal_path, error) from error
            held.callback(_close, self._journal)
            new = self._resume({"made_by": self._made_by, "anew": force})
            self._held = held.pop_all()
        # A run that was killed between writing the file and deleting the journal left both.
        replaced = {str(row["image_id"]) for row in new}
        self._rows = [row for row in old if str(row["image_id"]) not in replaced] + new
        self._known = {str(row["image_id"]) for row in self._rows}
        self._has_news = bool(new)

    def has(self, image_id: str) -> bool:
        """Whether the image is captioned already."""
        return image_id in self._known

    def check_addition(self) -> None:
        """Stop before any work where captions cannot be added.

        Raises:
            OutputError: It is not known what made those in the file.
        """
        if self._is_of_unknown:
            raise OutputError(
                f"{self.path} has no record of the model and decoding that made its captions",
                where="--out",
                fix="write the others to another --out, or caption all again with --force",
            )

    def write(self, prediction: Prediction) -> bool:
        """Add one caption to the journal.

        Raises:
            OutputError: The disk is full or gone, or the file's captions are of unknown make.
        """
        self.check_addition()
        row = prediction_row(prediction)
        self._append(row)
        self._rows.append(row)
        self._has_news = True
        return True

    def finish(self) -> None:
        """Write the file whole; nothing new leaves it as it is.

        Raises:
            OutputError: The place cannot be written.
        """
        if self._has_news or not self.path.exists():
            write_maker(self.path, self._made_by)
            if self._format == "jsonl":
                write_jsonl(self.path, self._rows)
            else:
                write_text(self.path, csv_text(self._rows, with_header=True))
        self._has_news = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the journal, and delete it unless it holds captions that the file does not."""
        _close(self._journal)
        if not self._has_news:
            self.journal_path.unlink(missing_ok=True)
        self._held.close()

    def _resume(self, header: Mapping[str, object]) -> list[Mapping[str, Any]]:
        """Return the rows of an earlier run's journal; begin one where there is none to resume."""
        self._journal.seek(0)
        # What follows the last line feed was cut by a kill.
        whole = self._journal.read().split(b"\n")[:-1]
        begun_by, rows = self._parse(whole) if whole else ({}, [])
        others = differences(begun_by.get("made_by", {}), self._made_by)
        if whole and not others and begun_by.get("anew") == header["anew"]:
            self._journal.truncate(sum(len(line) + 1 for line in whole))
            return rows
        if whole and not header["anew"]:
            told = f"another model or decoding ({', '.join(others)})" if others else "--force"
            raise OutputError(
                f"{self.journal_path} was begun with {told}",
                fix="give the same to resume it, --force to start again, or another --out",
            )
        self._journal.truncate(0)
        self._append(header)
        return []

    def _parse(self, lines: Sequence[bytes]) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
        try:
            header, *rows = (json.loads(line) for line in lines)
            if isinstance(header["made_by"], dict) and all("image_id" in row for row in rows):
                return header, rows
        except (ValueError, TypeError, LookupError):
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
            then = "run the same command again: it resumes where it stopped"
            raise cannot_write(self.journal_path, error, then=then) from error


def _close(journal: IO[bytes]) -> None:
    # Every line is flushed already. What a full disk refused would be refused once more here, and
    # hide the error that says so.
    with suppress(OSError):
        journal.close()


def _refuse_no_file(path: Path) -> None:
    refuse_special(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder", where="--out", fix="give the name of a file in it")


def _was_made_by(path: Path, made_by: Maker) -> bool:
    """Whether the file's record says so; without a record it is not known.

    Raises:
        OutputError: The record names another model or decoding.
    """
    before = read_maker(path)
    others = [] if before is None else differences(before, made_by)
    if others:
        raise OutputError(
            f"{path} holds captions of another model or decoding ({', '.join(others)})",
            where="--out",
            fix="give the same to add to it, --force to caption all again, or another --out",
        )
    return before is not None


def _read_rows(path: Path, file_format: FileFormat) -> list[Mapping[str, Any]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OutputError(
            f"cannot read {path}: {error.strerror or error}",
            where="--out",
            fix="make it readable, or choose another --out",
        ) from error
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
