"""Writes one file per image: plan the change, write a temporary file, rename it if nothing changed.

A file that was edited by hand since its image was found is kept as it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from captune.bulk.formats.interface import Existing, PerImageFormat
from captune.bulk.formats.xmp_files import EmbeddedMetadata
from captune.bulk.items import CaptionedItem
from captune.bulk.journal.changes import PlannedChange, file_state, hash_bytes
from captune.bulk.journal.known import FileState
from captune.bulk.metadata import EMBED_UNSUPPORTED
from captune.bulk.writing.disk import Disk, temporary_beside
from captune.errors import ImageError, OutputError
from captune.storage import (
    MAX_NAME_BYTES,
    RESUMES,
    cannot_read,
    cannot_write,
    name_kind,
    resolve_link,
)

# Syncs wait for the disk, not for the interpreter; a file system commits many at once.
_NUM_THREADS = 8
# Errors that concern more than one file.
_OF_THE_DISK = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}


Written = FileState | None | ImageError
"""The state of a written file; `None`: it was edited and is kept; an error: it failed."""


@dataclass(frozen=True, slots=True)
class ReadyChange:
    """A change with its bytes, and the state of the file that they were made from."""

    planned: PlannedChange
    new: bytes
    before: FileState | None


class FileWriter:
    """Writes the files of all formats of one file per image."""

    def __init__(
        self, formats: Mapping[str, PerImageFormat], *, existing: Existing, disk: Disk | None = None
    ) -> None:
        """Keep the formats by name; threads start with the first file."""
        self._formats, self._existing, self._disk = formats, existing, disk or Disk()
        self._pool = ThreadPoolExecutor(_NUM_THREADS, "captune-write")

    def plan(
        self, form: str, captioned: CaptionedItem, *, found: FileState | None
    ) -> ReadyChange | None:
        """Return the change of one file; `None`: it was edited since, and is kept.

        Args:
            form: The format's name.
            captioned: The image and its caption.
            found: The file's state when the image was found.

        Raises:
            ImageError: The file cannot hold a caption, or cannot be read.
        """
        format_ = self._formats[form]
        target = _real(format_.path_for(captioned.item))
        _refuse_irregular(target)
        before = file_state(target)
        if before != found and not self._may_replace(format_, target):
            return None
        return self._ready(format_, captioned, form=form, target=target, before=before)

    def plan_or_fall_back(
        self, form: str, captioned: CaptionedItem, *, found: FileState | None
    ) -> tuple[ReadyChange | None, ImageError | None]:
        """Return the change of one file, or of its XMP file instead, and why the image failed.

        An image whose caption is in the XMP file instead counts as failed too.

        Args:
            form: The format's name.
            captioned: The image and its caption.
            found: The file's state when the image was found.
        """
        try:
            return self.plan(form, captioned, found=found), None
        except ImageError as error:
            if error.what != EMBED_UNSUPPORTED:
                return None, error
            failure = error
        try:
            return self.plan_fallback(form, captioned), failure
        except ImageError as error:
            return None, error

    def plan_fallback(self, form: str, captioned: CaptionedItem) -> ReadyChange | None:
        """Return the change of the XMP file for an image that cannot hold its own caption.

        Returns:
            `None`: the format has no such file, the file has a caption to keep, another format
            writes it, or its name is too long.

        Raises:
            ImageError: That file cannot hold a caption either, or cannot be read.
        """
        format_ = self._formats[form]
        if not isinstance(format_, EmbeddedMetadata):
            return None
        fallback = format_.fallback
        place = fallback.path_for(captioned.item)
        if len(os.fsencode(place.name)) > MAX_NAME_BYTES:
            return None
        target = _real(place)
        _refuse_irregular(target)
        if any(_real(one.path_for(captioned.item)) == target for one in self._formats.values()):
            # `--to xmp` writes it already.
            return None
        before = file_state(target)
        keeps = self._existing in ("skip", "error") and before is not None
        if keeps and _has_caption(fallback, target):
            return None
        return self._ready(fallback, captioned, form=form, target=target, before=before)

    def _ready(
        self,
        format_: PerImageFormat,
        captioned: CaptionedItem,
        *,
        form: str,
        target: Path,
        before: FileState | None,
    ) -> ReadyChange:
        try:
            earlier = None if before is None else target.read_bytes()
        except OSError as error:
            raise _cannot_read(cannot_read(target, error)) from error
        change = format_.change(earlier, captioned.prediction.caption, existing=self._existing)
        planned = PlannedChange(
            name=captioned.item.name,
            # The format that the user named: its journal entry also stands for the fallback's file.
            format=form,
            target=target,
            temporary=temporary_beside(target),
            earlier=None if earlier is None else hash_bytes(earlier),
            new=hash_bytes(change.new),
            undo=change.undo,
        )
        return ReadyChange(planned, change.new, before)

    def apply(self, changes: Sequence[ReadyChange]) -> list[Written]:
        """Write the files and make them durable; return the result for each.

        Raises:
            OutputError: A file cannot be written, for example because the disk is full.
        """
        states = list(self._pool.map(self._apply, changes))
        written = zip(changes, states, strict=True)
        folders = {
            change.planned.target.parent
            for change, state in written
            if not isinstance(state, ImageError)
        }
        try:
            list(self._pool.map(self._disk.sync_folder, folders))
        except OSError as error:
            raise cannot_write(next(iter(folders)), error, then=RESUMES) from error
        return states

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _may_replace(self, format_: PerImageFormat, target: Path) -> bool:
        """Return whether a file that was edited since holds no caption to keep."""
        return self._existing == "skip" and not _has_caption(format_, target)

    def _apply(self, change: ReadyChange) -> Written:
        target, temporary = change.planned.target, change.planned.temporary
        try:
            self._disk.write(temporary, change.new, like=target)
            # As late as possible: the rename follows.
            if file_state(target) != change.before:
                self._disk.remove(temporary)
                return None
            if change.before is not None:
                self._disk.replace(temporary, target)
            elif not self._disk.create(temporary, target):
                self._disk.remove(temporary)
                return None
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return _explain(target, error)
        return file_state(target)


def _real(target: Path) -> Path:
    """Return the file that a link points to, so that the link itself stays.

    Raises:
        ImageError: The link points to itself.
    """
    try:
        return resolve_link(target)
    except (OSError, RuntimeError) as error:
        raise ImageError("io", where=f"{target} is a link that points nowhere") from error


def _has_caption(format_: PerImageFormat, target: Path) -> bool:
    """Return whether a file holds a caption.

    Raises:
        ImageError: It cannot be read, which costs this image only.
    """
    try:
        return format_.has_caption(target)
    except OutputError as error:
        raise _cannot_read(error) from error


def _cannot_read(error: OutputError) -> ImageError:
    return ImageError("io", where=error.what, fix=error.fix)


def _refuse_irregular(target: Path) -> None:
    """Refuse a folder, and what never ends when it is read, such as a pipe."""
    kind = name_kind(target) if target.exists() else None
    if kind is not None:
        raise ImageError("io", where=f"{target} is {kind}", fix="move or rename it")


def _explain(target: Path, error: OSError) -> ImageError:
    """Return why one file cannot be written.

    Raises:
        OutputError: No other file can be written either, for example because the disk is full.
    """
    if error.errno in _OF_THE_DISK:
        raise cannot_write(target, error, then=RESUMES) from error
    return ImageError("io", where=f"cannot write {target}: {error.strerror or error}")
