"""Captions as text files beside their images: photo.jpg gets photo.txt."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from captune.errors import OutputError
from captune.records import Prediction
from captune.storage import write_text

SidecarName = Literal["stem", "full"]
"""`stem`: photo.txt. `full`: photo.jpg.txt."""


# Bytes in which a caption shows.
_ENOUGH = 4096
# Of all file systems in common use.
_LONGEST_NAME = 255


class Sidecars:
    """Where each image's caption goes; found to be possible before anything is written."""

    def __init__(
        self, paths: Sequence[Path], *, name: SidecarName = "stem", force: bool = False
    ) -> None:
        """Plans one file an image.

        Args:
            paths: All images, also those captioned already.
            name: How a file is named after its image.
            force: Caption anew what has a caption already.

        Raises:
            OutputError: Two images would share a file, a name would be too long, or a folder
                cannot be written.
        """
        self._name, self._force = name, force
        self._refuse_long_names(paths)
        self._refuse_collisions(paths)
        for folder in {path.parent for path in paths}:
            if not os.access(folder, os.W_OK | os.X_OK):
                raise OutputError(
                    f"cannot write beside the images in {folder}",
                    fix="write to one file elsewhere: --to jsonl --out FILE",
                )

    def path_of(self, image: Path) -> Path:
        """The text file of an image."""
        return Path(f"{image}.txt") if self._name == "full" else image.with_suffix(".txt")

    def has(self, image_id: str) -> bool:
        """Whether the image has a caption to keep; an empty file is none.

        Raises:
            OutputError: The file cannot be read.
        """
        if self._force:
            return False
        target = self.path_of(Path(image_id))
        try:
            if not target.is_file():
                return False
            with target.open("rb") as file:
                return bool(file.read(_ENOUGH).strip())
        except OSError as error:
            raise OutputError(
                f"cannot read {target}: {error.strerror}", fix="make it readable, or move it away"
            ) from error

    def write(self, prediction: Prediction) -> None:
        """Writes the caption and a line feed; the file appears whole. No text, no file.

        Raises:
            OutputError: The place cannot be written.
        """
        if prediction.caption:
            text = " ".join(prediction.caption.split()) + "\n"
            write_text(self.path_of(Path(prediction.image_id)), text)

    def finish(self) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Every file is whole already."""

    def _refuse_long_names(self, paths: Sequence[Path]) -> None:
        # Found here, not in the middle of the run: it would stop there each time it is resumed.
        names = (self.path_of(path).name for path in paths)
        name = next((name for name in names if len(os.fsencode(name)) > _LONGEST_NAME), None)
        if name is not None:
            raise OutputError(
                f"{name} is longer than a file's name may be, {_LONGEST_NAME} bytes",
                fix="--sidecar-name stem, or write to one file: --to jsonl --out FILE",
            )

    def _refuse_collisions(self, paths: Sequence[Path]) -> None:
        images_of: defaultdict[Path, list[Path]] = defaultdict(list)
        for path in paths:
            images_of[self.path_of(path)].append(path)
        shared = [(target, images) for target, images in images_of.items() if len(images) > 1]
        if shared:
            target, images = shared[0]
            more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
            raise OutputError(
                f"{' and '.join(image.name for image in images)} would both be captioned in"
                f" {target}{more}",
                fix="name the files after the whole image name: --sidecar-name full",
            )
