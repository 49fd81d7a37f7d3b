"""Where captions of image files go: lines on a stream, files beside the images, or one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, Protocol, Self

from captune.errors import OutputError
from captune.inference.outputs.file import CaptionFile
from captune.inference.outputs.lines import csv_text, prediction_row
from captune.inference.outputs.sidecars import SidecarName, Sidecars
from captune.records import Prediction
from captune.text_safety import escape_steering

Target = Literal["stdout", "txt", "jsonl", "csv"]


class Destination(Protocol):
    """Takes captions of image files, whose ids are their paths."""

    def has(self, image_id: str) -> bool:
        """Whether the image has a caption already and is to be skipped."""

    def check_addition(self) -> None:
        """Stop before any work where new captions cannot be added to those that are there."""

    def write(self, prediction: Prediction) -> bool:
        """Take one caption; it outlives a kill once this returns.

        Returns:
            Whether it was written; a text that somebody put there meanwhile is kept.
        """

    def finish(self) -> None:
        """Bring everything to its final place; called when all went well."""

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
    """The destination, found to be possible before any work.

    Args:
        target: Form of the output.
        paths: All images found.
        out: A file for `jsonl` and `csv`, or a stream for all but `txt`.
        made_by: Model and decoding, in JSON types; what others made is not added to.
        sidecar_name: How text files are named.
        force: Caption again what has a caption already.

    Raises:
        OutputError: A place cannot be written, two images would share a file, a file holds
            something else, or the form and the place do not fit.
    """
    if target == "txt":
        return Sidecars(paths, name=sidecar_name, force=force)
    if not isinstance(out, Path):
        return Lines(out, target)
    if target == "stdout":
        raise OutputError(
            f"{out} is a file, and --to stdout writes none", fix="--to jsonl or --to csv"
        )
    return CaptionFile(out, target, made_by=made_by, force=force)


class Lines:
    """A line an image on a stream: path, tab and caption, or JSONL, or CSV."""

    def __init__(self, stream: IO[bytes], target: Literal["stdout", "jsonl", "csv"]) -> None:
        """Writes nothing yet."""
        self._stream, self._target = stream, target
        self._has_header = False

    def has(self, image_id: str) -> bool:  # noqa: ARG002 - the protocol's
        """Nothing is ever there."""
        return False

    def check_addition(self) -> None:
        """Nothing is there that could be added to."""

    def write(self, prediction: Prediction) -> bool:
        """Write one line and flush it.

        Raises:
            OutputError: The stream cannot be written, such as one into a file on a full disk.
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
            # File names come out with the bytes that they have.
            self._stream.write(line.encode("utf-8", "surrogateescape"))
            self._stream.flush()
        except BrokenPipeError:
            # `| head` has had enough; the command line knows how to end then.
            raise
        except OSError as error:
            raise OutputError(
                f"cannot write the captions to stdout: {error.strerror or error}",
                fix="make room where it leads to, or write a file with --out, which can be resumed",
            ) from error
        return True

    def finish(self) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The stream stays open: it is the caller's."""
