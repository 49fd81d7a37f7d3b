"""The interfaces that every output format of a bulk run implements.

The run owns safety: it commits what it is about to write to the journal, writes a temporary file,
syncs, renames, and commits that it is done. A format decides only bytes and names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from captune.bulk.items import CaptionedItem, Item

Existing = Literal["skip", "overwrite", "append", "prepend", "error"]
"""What happens to an image that already has a caption."""

ADDING: tuple[Existing, ...] = ("append", "prepend")
"""The policies that add to the caption in a file."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """The new content of a file, and what is needed to restore the earlier content.

    Attributes:
        new: All bytes of the file.
        undo: What `restore` needs, and no more: for metadata, the replaced segments only.
    """

    new: bytes
    undo: bytes


class PerImageFormat(Protocol):
    """One file per image: a text file, an XMP sidecar, or the image itself."""

    @property
    def name(self) -> str:
        """The format's name in `--to`."""

    def path_for(self, item: Item) -> Path:
        """Return the file to write.

        Raises:
            OutputError: The item has no file on disk.
        """

    def has_caption(self, path: Path) -> bool:
        """Return whether the file holds a caption already; one without text does not count.

        Raises:
            OutputError: The file cannot be read, or is a device or a pipe.
        """

    def change(self, earlier: bytes | None, caption: str, *, existing: Existing) -> FileChange:
        """Return the file's new content.

        Args:
            earlier: Its bytes now; `None`: it does not exist.
            caption: The caption, never empty.
            existing: `append` or `prepend`: add to the caption in the file; else replace it.

        Raises:
            ImageError: The file cannot hold a caption, such as `embed_unsupported`.
        """

    def restore(self, now: bytes, undo: bytes) -> bytes | None:
        """Return the content that a file had before `change`; `None`: it did not exist.

        Args:
            now: Its bytes, the same as `FileChange.new`.
            undo: The `FileChange.undo` of that change.

        Raises:
            OutputError: The bytes are not those of the change, where the format can detect it.
        """


class CollectedFormat(Protocol):
    """Many rows in one place: a file, or a folder of shards.

    The run calls `earlier_names` once, `resume` once, `add` any number of times, and `finish`
    once. After a kill at any moment, a new object is created and called the same way.
    """

    @property
    def name(self) -> str:
        """The format's name in `--to`."""

    @property
    def path(self) -> Path:
        """The file or folder as the user named it."""

    def earlier_names(self) -> Iterable[str]:
        """Yield the `image_id` of each row that a finished file holds already.

        Raises:
            OutputError: The file holds something other than captions.
        """

    def resume(self, state: bytes | None, *, keep_earlier: bool) -> bytes:
        """Open the output, and truncate it to what the journal has committed.

        Args:
            state: What the last committed `resume` or `add` returned; `None`: there is none, so
                an unfinished output that exists is not this run's, and is kept.
            keep_earlier: Whether `finish` keeps the rows of the finished file whose names are not
                among the new ones; else it replaces them all.

        Returns:
            The state, which the journal commits before any `add`.

        Raises:
            OutputError: The output cannot be written, or lacks committed rows.
        """

    def add(self, rows: Sequence[CaptionedItem]) -> bytes:
        """Write rows and sync them; return the state that the journal commits.

        Raises:
            OutputError: The output cannot be written, for example because the disk is full.
        """

    def finish(self) -> None:
        """Complete the output atomically; it can be called again after a kill in the middle.

        Raises:
            OutputError: The output cannot be written.
        """

    def is_finished(self) -> bool:
        """Return whether a `finish` that a kill interrupted had come to its end."""

    def discard(self) -> None:
        """Delete what was written since the output was begun, instead of `finish`.

        Raises:
            OutputError: It cannot be deleted.
        """

    def finished_files(self) -> Sequence[Path]:
        """Return the files that `finish` has completed; `captune undo` deletes or restores them."""

    def close(self) -> None:
        """Close files; always called, even after `finish` or an error."""
