"""All captions in one JSONL or CSV file, written atomically, however often the run is killed.

During the run, captions are appended and synced line by line to a journal beside the file
(`captions.jsonl.part`). At the end the file is written and the journal is deleted. After a stop,
the next run finds the journal and resumes after its last complete line. Model and decoding are
recorded beside the file (maker.py): captions of two models, or of two decodings, never share it.
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
from captune.inference.outputs.maker import Maker, differences, read_maker, write_maker
from captune.inference.prediction_rows import csv_text, parse_csv, prediction_row
from captune.records import Prediction
from captune.storage import cannot_write, lock_file, refuse_special, write_jsonl, write_text

FileFormat = Literal["jsonl", "csv"]


class CaptionFile:
    """A file of captions and its journal."""

    def __init__(self, path: Path, file_format: FileFormat, *, made_by: Maker, force: bool) -> None:
        """Open the journal, so that a path that cannot be written is found before any work.

        Args:
            path: The file; the captions in it are kept and their images skipped.
            file_format: `jsonl` or `csv`.
            made_by: Model and decoding; captions of others are not added to.
            force: Caption the images of the file again, and resume only a journal that was
                started with `force`.

        Raises:
            OutputError: The file cannot be written, holds something other than captions or those
                of another model or decoding, or another run is writing it.
        """
        self.path, self.journal_path = path, Path(f"{path}.part")
        self._format, self._synced = file_format, 0.0
        self._made_by: Maker = json.loads(json.dumps(made_by))
        _refuse_folder(path)
        refuse_special(self.journal_path)
        with ExitStack() as held:
            held.enter_context(lock_file(path))
            old = [] if force else _read_rows(path, file_format)
            # A file of an older captune, or of another program, has no record of its model.
            self._has_unknown_maker = bool(old) and not _was_made_by(path, self._made_by)
            try:
                self._journal = self.journal_path.open("a+b")
            except OSError as error:
                raise cannot_write(self.journal_path, error) from error
            held.callback(_close, self._journal)
            new = self._resume({"made_by": self._made_by, "force": force})
            self._held = held.pop_all()
        # A run that was killed between writing the file and deleting the journal leaves both.
        replaced = {str(row["image_id"]) for row in new}
        self._rows = [row for row in old if str(row["image_id"]) not in replaced] + new
        self._known = {str(row["image_id"]) for row in self._rows}
        self._has_new_rows = bool(new)

    def has(self, image_id: str) -> bool:
        """Return whether the image has a caption already."""
        return image_id in self._known

    def check_addition(self) -> None:
        """Refuse, before any work, to add captions to those of an unknown model.

        Raises:
            OutputError: There is no record of what made the captions in the file.
        """
        if self._has_unknown_maker:
            raise OutputError(
                f"{self.path} has no record of the model and decoding that made its captions",
                where="--out",
                fix="write the new captions to another --out, or caption all again with --force",
            )

    def write(self, prediction: Prediction) -> bool:
        """Add one caption to the journal.

        Raises:
            OutputError: The journal cannot be written, or the file has no record of its model.
        """
        self.check_addition()
        row = prediction_row(prediction)
        self._append(row)
        self._rows.append(row)
        self._has_new_rows = True
        return True

    def finish(self) -> None:
        """Write the file; without new captions, it stays as it is.

        Raises:
            OutputError: The file cannot be written.
        """
        if self._has_new_rows or not self.path.exists():
            write_maker(self.path, self._made_by)
            if self._format == "jsonl":
                write_jsonl(self.path, self._rows)
            else:
                write_text(self.path, csv_text(self._rows, with_header=True))
        self._has_new_rows = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the journal, and delete it unless it holds captions that the file lacks."""
        _close(self._journal)
        if not self._has_new_rows:
            self.journal_path.unlink(missing_ok=True)
        self._held.close()

    def _resume(self, header: Mapping[str, object]) -> list[Mapping[str, Any]]:
        """Return the rows of an earlier run's journal; start a new one if none can be resumed."""
        self._journal.seek(0)
        # A kill truncated whatever follows the last line feed.
        lines = self._journal.read().split(b"\n")[:-1]
        started_by, rows = self._parse(lines) if lines else ({}, [])
        others = differences(started_by.get("made_by", {}), self._made_by)
        if lines and not others and bool(started_by.get("force")) == header["force"]:
            self._journal.truncate(sum(len(line) + 1 for line in lines))
            return rows
        if lines and not header["force"]:
            cause = f"another model or decoding ({', '.join(others)})" if others else "--force"
            raise OutputError(
                f"{self.journal_path} was started with {cause}",
                fix="use the same settings to resume it, --force to start again, or another --out",
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
            fix="move it, or choose another --out",
        )

    def _append(self, row: Mapping[str, object]) -> None:
        try:
            # ASCII with escapes: file names may contain bytes that are not UTF-8.
            self._journal.write(json.dumps(row).encode("ascii") + b"\n")
            self._journal.flush()
            # A kill loses nothing that is flushed; a power cut loses at most a second.
            if time.monotonic() - self._synced > 1.0:
                os.fsync(self._journal.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            then = "run the same command again: it resumes where it stopped"
            raise cannot_write(self.journal_path, error, then=then) from error


def _close(journal: IO[bytes]) -> None:
    # Every line is flushed already. A full disk would raise once more here and hide the first
    # error.
    with suppress(OSError):
        journal.close()


def _refuse_folder(path: Path) -> None:
    refuse_special(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder", where="--out", fix="give the name of a file in it")


def _was_made_by(path: Path, made_by: Maker) -> bool:
    """Return whether the file's record names the same model and decoding; False without a record.

    Raises:
        OutputError: The record names another model or decoding.
    """
    before = read_maker(path)
    others = [] if before is None else differences(before, made_by)
    if others:
        raise OutputError(
            f"{path} holds captions of another model or decoding ({', '.join(others)})",
            where="--out",
            fix="use the same ones to add to it, --force to caption all again, or another --out",
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
        f"{path} holds something other than captions",
        where="--out",
        fix="choose another file, or overwrite this one with --force",
    )
