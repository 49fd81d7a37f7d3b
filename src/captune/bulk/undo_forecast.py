"""Estimate what `captune undo` costs on disk, before anything is written.

A run streams, so the first images stand for the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.bulk.formats.interface import Existing, PerImageFormat
from captune.bulk.writing.tasks import CaptionTask
from captune.errors import CaptuneError
from captune.suggest import format_bytes, format_count

# A caption of typical length, in place of captions that are not generated yet.
_CAPTION = "a brown dog runs over a wide green field with a stick in its mouth"
_MAX_SAMPLES = 16
# A change's row in the journal, without its three paths and its undo bytes; measured.
_ROW_BYTES = 80


@dataclass(frozen=True, slots=True)
class UndoForecast:
    """Bytes that a run keeps so that it can be undone.

    Attributes:
        bytes_per_file: Mean per file written beside an image, or per image that is changed.
        num_files: Number of these files; `None`: not all images are found yet.
        replaced_bytes: Size of the finished files of captions that the run replaces.
    """

    bytes_per_file: float = 0.0
    num_files: int | None = 0
    replaced_bytes: int = 0

    def describe(self) -> str:
        """Return it in words; empty: nothing is kept."""
        parts = []
        if self.bytes_per_file and self.num_files is None:
            each = format_count(round(self.bytes_per_file), "byte")
            million = format_bytes(1e6 * self.bytes_per_file)
            parts.append(f"about {each} per file, {million} per million files")
        elif self.bytes_per_file and self.num_files:
            size = format_bytes(self.num_files * self.bytes_per_file)
            parts.append(f"about {size} for {format_count(self.num_files, 'file')}")
        if self.replaced_bytes:
            parts.append(f"{format_bytes(self.replaced_bytes)} of earlier captions")
        return " and ".join(parts)


def forecast_undo(
    tasks: Sequence[CaptionTask],
    formats: Mapping[str, PerImageFormat],
    *,
    existing: Existing,
    is_all: bool,
    replaced: Sequence[Path] = (),
) -> UndoForecast:
    """Return what a run keeps for `captune undo`.

    Args:
        tasks: The first images.
        formats: Formats of one file per image.
        existing: What happens to an image that already has a caption.
        is_all: Whether these are all images.
        replaced: Files of captions that are replaced at the end, if they exist.
    """
    changes = [(task, name) for task in tasks if task.error is None for name in task.targets]
    step = max(1, len(changes) // _MAX_SAMPLES)
    sizes = [_sample(task, formats[name], existing) for task, name in changes[::step]]
    known = [size for size in sizes if size is not None]
    mean = sum(known) / len(known) if known else 0.0
    replaced_bytes = sum(path.stat().st_size for path in replaced if path.is_file())
    return UndoForecast(mean, len(changes) if is_all else None, replaced_bytes)


def kept_bytes(undo: bytes, target: Path) -> int:
    """Return the bytes that the journal keeps for one change, which depend on the file's path."""
    return len(undo) + _ROW_BYTES + 3 * len(os.fsencode(target))


def _sample(task: CaptionTask, form: PerImageFormat, existing: Existing) -> int | None:
    """Return the bytes that undoing one change needs; `None`: the file cannot hold a caption."""
    target = form.path_for(task.item)
    try:
        earlier = target.read_bytes() if target.is_file() else None
        return kept_bytes(form.change(earlier, _CAPTION, existing=existing).undo, target)
    except (CaptuneError, OSError):
        # The run itself reports it.
        return None
