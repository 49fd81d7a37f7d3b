"""Captions on stdout: path, tab and caption, or JSON lines, or CSV; flushed line by line."""

from __future__ import annotations

import json
from typing import IO, Literal

from captune.errors import OutputError
from captune.inference import csv_text, prediction_row
from captune.records import Prediction
from captune.text_safety import escape_steering

StreamTarget = Literal["stdout", "jsonl", "csv"]


class ReaderGoneError(Exception):
    """The program that reads stdout has read enough: `captune caption ... | head`."""


class CaptionLines:
    """One line per image on a stream."""

    def __init__(self, stream: IO[bytes], target: StreamTarget) -> None:
        """Keep the stream; nothing is written yet."""
        self._stream, self._target = stream, target
        self._has_header = False

    def write(self, prediction: Prediction) -> None:
        """Write one line and flush it.

        Raises:
            OutputError: The stream cannot be written, for example because the disk is full.
            ReaderGoneError: The reader has closed the pipe.
        """
        row = prediction_row(prediction)
        if self._target == "jsonl":
            line = json.dumps(row) + "\n"
        elif self._target == "csv":
            line = csv_text([row], with_header=not self._has_header)
            self._has_header = True
        else:
            name, caption = escape_steering(prediction.image_id), prediction.caption
            line = f"{name}\t{escape_steering(caption)}\n"
        try:
            # File names keep their bytes.
            self._stream.write(line.encode("utf-8", "surrogateescape"))
            self._stream.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            raise OutputError(
                f"cannot write the captions to stdout: {error.strerror or error}",
                fix="free space where stdout goes, or use --out FILE, which can be resumed",
            ) from error
