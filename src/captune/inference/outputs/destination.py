"""Where captions are written: lines on a stream, files beside the images, or one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, Protocol, Self

from captune.errors import OutputError
from captune.inference.outputs.file import CaptionFile
from captune.inference.outputs.sidecars import SidecarName, Sidecars
from captune.inference.prediction_rows import csv_text, prediction_row
from captune.records import Prediction
from captune.text_safety import escape_steering

Target = Literal["stdout", "txt", "jsonl", "csv"]


class Destination(Protocol):
    """A place for the captions of image files, whose ids are their paths."""

    def has(self, image_id: str) -> bool:
        """Return whether the image has a caption already and should be skipped."""

    def check_addition(self) -> None:
        """Refuse, before any work, if captions cannot be added to the existing ones."""

    def write(self, prediction: Prediction) -> bool:
        """Write one caption; once this returns, a kill does not lose it.

        Returns:
            Whether it was written; a file that somebody else wrote meanwhile is kept.
        """

    def finish(self) -> None:
        """Write the final output; called if there was no error."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_destination(
    target: Target,
    paths: Sequence[Path],
    *,
    out: Path | IO[bytes],
    made_by: Mapping[str, object],
    sidecar_name: SidecarName = "stem",
    force: bool = False,
) -> Destination:
    """Return the destination, checked before any work.

    Args:
        target: Form of the output.
        paths: All images found.
        out: A file for `jsonl` and `csv`, or a stream for all targets except `txt`.
        made_by: Model and decoding, in JSON types; captions of others are not added to.
        sidecar_name: How text files are named.
        force: Caption images again that have a caption already.

    Raises:
        OutputError: A file or folder cannot be written, two images would share a file, a file
            holds something other than captions, or target and `out` do not match.
    """
    if target == "txt":
        return Sidecars(paths, name=sidecar_name, force=force)
    if not isinstance(out, Path):
        return Lines(out, target)
    if target == "stdout":
        raise OutputError(
            f"{out} is a file, and --to stdout writes no files", fix="use --to jsonl or --to csv"
        )
    return CaptionFile(out, target, made_by=made_by, force=force)


class Lines:
    """One line per image on a stream: path, tab and caption, or JSONL, or CSV."""

    def __init__(self, stream: IO[bytes], target: Literal["stdout", "jsonl", "csv"]) -> None:
        """Keep the stream; nothing is written yet."""
        self._stream, self._target = stream, target
        self._has_header = False

    def has(self, image_id: str) -> bool:  # noqa: ARG002 - the protocol's
        """Return False: a stream holds no earlier captions."""
        return False

    def check_addition(self) -> None:
        """Do nothing: a stream holds no earlier captions."""

    def write(self, prediction: Prediction) -> bool:
        """Write one line and flush it.

        Raises:
            OutputError: The stream cannot be written, for example because the disk is full.
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
        except BrokenPipeError:
            # `| head` has read enough; the command line handles this.
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write the captions to stdout: {error.strerror or error}",
                fix="free space where it is redirected, or use --out FILE, which can be resumed",
            ) from error
        return True

    def finish(self) -> None:
        """Do nothing: every line is written already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the stream open: it belongs to the caller."""
