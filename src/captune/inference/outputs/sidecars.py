"""Captions as text files beside their images: photo.jpg gets photo.txt."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

from captune.errors import OutputError
from captune.records import Prediction
from captune.storage import fold_name, lock_folder, open_atomic, refuse_special

SidecarName = Literal["stem", "full"]
"""`stem`: photo.txt. `full`: photo.jpg.txt."""


# Bytes that show whether a file holds text.
_SAMPLE_BYTES = 4096
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# A lock needs an open file; in further folders, two runs may caption an image twice, but
# overwrite nothing.
_MAX_LOCKS = 100
# Bytes, in all file systems in common use.
_MAX_NAME = 255

_State = tuple[int, int] | None


class _ChangedMeanwhileError(Exception):
    """Somebody else wrote the text file during captioning."""


class Sidecars:
    """A text file per image, checked before anything is written."""

    def __init__(
        self, paths: Sequence[Path], *, name: SidecarName = "stem", force: bool = False
    ) -> None:
        """Plan one file per image.

        Args:
            paths: All images, including those captioned already.
            name: How a file is named after its image.
            force: Caption images again that have a caption already.

        Raises:
            OutputError: Two images would share a file, a name would be too long, a folder cannot
                be written, or another run captions it.
        """
        self._name, self._force = name, force
        self._states: dict[Path, _State] = {}
        self._refuse_long_names(paths)
        self._refuse_collisions(paths)
        folders = sorted({path.parent for path in paths})
        for folder in folders:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise OutputError(
                    f"cannot write beside the images in {folder}",
                    fix="write one file elsewhere: --to jsonl --out FILE",
                )
        with ExitStack() as held:
            for folder in folders[:_MAX_LOCKS]:
                held.enter_context(lock_folder(folder, purpose="captions"))
            self._held = held.pop_all()

    def path_of(self, image: Path) -> Path:
        """Return the text file of an image."""
        return Path(f"{image}.txt") if self._name == "full" else image.with_suffix(".txt")

    def has(self, image_id: str) -> bool:
        """Return whether the image has a caption to keep; an empty file does not count.

        Raises:
            OutputError: The file cannot be read.
        """
        target = self.path_of(Path(image_id))
        self._states[target] = _state_of(target)
        return not self._force and _has_text(target)

    def check_addition(self) -> None:
        """Do nothing: every image has its own file."""

    def write(self, prediction: Prediction) -> bool:
        """Write the caption and a line feed atomically; an empty caption writes no file.

        A file that appeared or changed since `has` was called is kept.

        Raises:
            OutputError: The file cannot be written.
        """
        if not prediction.caption:
            return True
        target = self.path_of(Path(prediction.image_id))
        before = self._states.get(target, _state_of(target) if self._force else None)
        try:
            with open_atomic(target) as file:
                file.write((" ".join(prediction.caption.split()) + "\n").encode("utf-8", "replace"))
                file.flush()
                os.fsync(file.fileno())
                # As late as possible: the rename follows.
                if _state_of(target) != before and (self._force or _has_text(target)):
                    raise _ChangedMeanwhileError
        except _ChangedMeanwhileError:
            return False
        self._states[target] = _state_of(target)
        return True

    def finish(self) -> None:
        """Do nothing: every file is written already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the folders."""
        self._held.close()

    def _refuse_long_names(self, paths: Sequence[Path]) -> None:
        # Checked here: a run would stop at this image each time it is resumed.
        names = (self.path_of(path).name for path in paths)
        name = next((name for name in names if len(os.fsencode(name)) > _MAX_NAME), None)
        if name is not None:
            raise OutputError(
                f"the file name {name} is longer than {_MAX_NAME} bytes",
                fix="use --sidecar-name stem, or write one file: --to jsonl --out FILE",
            )

    def _refuse_collisions(self, paths: Sequence[Path]) -> None:
        images_of: defaultdict[Path, list[Path]] = defaultdict(list)
        for path in paths:
            target = self.path_of(path)
            images_of[target.with_name(fold_name(target.name))].append(path)
        shared = [
            (self.path_of(images[0]), images)
            for images in images_of.values()
            if len(images) > 1 and (self._share_one_name(images) or _ignores_case(images[0]))
        ]
        if shared:
            target, images = shared[0]
            more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
            raise OutputError(
                f"{' and '.join(image.name for image in images)} would share the file"
                f" {target}{more}",
                fix="name the text files after the full image name: --sidecar-name full",
            )

    def _share_one_name(self, images: Sequence[Path]) -> bool:
        return len({self.path_of(image) for image in images}) < len(images)


def _ignores_case(image: Path) -> bool:
    """Return whether `a.jpg` and `A.JPG` are the same file on the image's file system."""
    other = image.with_name(image.name.swapcase())
    try:
        return other != image and other.samefile(image)
    except OSError:
        return False


def _state_of(path: Path) -> _State:
    """Return a value that changes whenever the file is written; `None` if it does not exist."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


def _has_text(path: Path) -> bool:
    """Return whether a text file holds more than white space and a byte-order mark.

    Raises:
        OutputError: The file cannot be read, or is a device or a pipe.
    """
    refuse_special(path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            content = file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise OutputError(
            f"cannot read {path}: {error.strerror}", fix="make it readable, or move it"
        ) from error
    for mark in _BYTE_ORDER_MARKS:
        content = content.removeprefix(mark)
    # In UTF-16, every other byte of ASCII text is zero.
    return bool(content.replace(b"\0", b"").strip())
