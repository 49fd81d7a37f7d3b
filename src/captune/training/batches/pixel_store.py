"""Resized images, kept in a file between epochs: reading is 10 times as fast as decoding.

It is used if every epoch needs pixels because the vision encoder is trained. The first epoch fills
it row by row, in whichever process reads the image. A row's checksum starts from a key of its image
file, so a row that is damaged, unfinished or of a replaced file is decoded again: the pixels always
equal those of decoding.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import torch

from captune.errors import OutputError
from captune.progress import Say
from captune.records import CaptionRecord, VisionInputs
from captune.suggest import format_bytes, format_count
from captune.training.batches.feature_file import create_file, map_rows, row_checksum

_FOLDER = "pixel_store"


class PixelStore:
    """The file of a data set, mapped in each process that uses it; it can be sent to workers.

    Args:
        file: A complete file, from `open_store`.
        num_views: Views per image; row i * num_views + v is view v of image i.
    """

    def __init__(self, file: Path, num_views: int) -> None:
        self._file = file
        self._num_views = num_views
        self._mapped: tuple[np.memmap[Any, Any], np.memmap[Any, Any]] | None = None

    def key(self, record: CaptionRecord) -> int:
        """Return a number that changes with the image's id and its file's path, size and time."""
        text = f"{record.image_id}\0{_describe_file(record)}"
        return zlib.crc32(text.encode("utf-8", "surrogateescape"))

    def has_written(self, pairs: Iterable[tuple[int, int]]) -> bool:
        """Return whether all (image, view) pairs have been stored; rows may still be outdated."""
        _, sums = self._map()
        return all(sums[index * self._num_views + view] for index, view in pairs)

    def read(self, index: int, view: int, *, key: int) -> VisionInputs | None:
        """Return one view of an image; `None`: it is not stored under this key.

        Args:
            index: Index of the image in the data set.
            view: Index of the view.
            key: Result of `key` for the image's record.
        """
        rows, sums = self._map()
        place = index * self._num_views + view
        # Most rows of a first epoch: reading an empty one would still take memory and time.
        if not sums[place]:
            return None
        # A copy, because the file may change.
        row = np.array(rows[place])
        if row_checksum(row, key) != sums[place]:
            return None
        return VisionInputs.of_pixels(torch.from_numpy(row)[None])

    def write(self, index: int, view: int, *, inputs: VisionInputs, key: int) -> None:
        """Store one view of an image; see `read`."""
        rows, sums = self._map()
        place = index * self._num_views + view
        row = np.ascontiguousarray(inputs.pixel_values[0].numpy())
        if not self._write_at(rows.offset + place * row.nbytes, row):
            rows[place] = row
        sums[place] = row_checksum(row, key)

    def _write_at(self, offset: int, row: npt.NDArray[np.uint8]) -> bool:
        """Write a row without the map, where each new page of the file is a fault, if possible."""
        if not hasattr(os, "pwrite"):
            return False
        with suppress(OSError), self._file.open("r+b", buffering=0) as file:
            return os.pwrite(file.fileno(), row.data, offset) == row.nbytes
        # Deleted during the run, for example: the map is still valid.
        return False

    def __getstate__(self) -> tuple[Path, int]:
        return self._file, self._num_views

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def _map(self) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
        if self._mapped is None:
            self._mapped = map_rows(self._file, mode="r+")
        return self._mapped


@dataclass(frozen=True, slots=True)
class StoredSet:
    """The content of a store.

    Attributes:
        name: Name of the split: `train` or `val`.
        num_images: Number of images.
        num_views: Number of views per image.
        sample: The inputs of any one image.
        pixels_from: Description of the settings on which the pixels depend.
    """

    name: str
    num_images: int
    num_views: int
    sample: VisionInputs
    pixels_from: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the file's array."""
        pixels = self.sample.pixel_values
        return (self.num_images * self.num_views, *pixels.shape[1:])

    @property
    def can_be_stored(self) -> bool:
        """Whether its inputs are 8-bit pixels and nothing else."""
        tensors = self.sample.tensors
        return tensors.keys() == {"pixel_values"} and tensors["pixel_values"].dtype == torch.uint8


def open_store(stored: StoredSet, run_folder: Path, *, say: Say) -> PixelStore | None:
    """Return the store in a run's folder, new or existing; `None`: pixels are not stored.

    Args:
        stored: Its content; only inputs that are 8-bit pixels and nothing else are stored.
        run_folder: Folder of the run, in which the store has its own folder.
        say: Called with one line about the store.
    """
    if not stored.can_be_stored:
        return None
    versions = (torch.__version__, PIL.__version__)
    digest = hashlib.blake2b(digest_size=16)
    for part in (stored.pixels_from, stored.shape, *versions):
        digest.update(f"{part}\0".encode())
    file = run_folder / _FOLDER / f"{stored.name}-{digest.hexdigest()}.npy"
    size = int(np.prod(stored.shape))
    images = format_count(stored.shape[0], "image")
    what = f"{stored.name}: resized pixels of {images} ({format_bytes(size)})"
    if not _is_usable(file, stored.shape):
        temporary = file.with_name(f".{file.name}.new")
        _delete_others(file)
        free = shutil.disk_usage(run_folder).free
        if size > free // 2:
            say(
                f"{what} do not fit into half of the free disk ({format_bytes(free)}): every epoch"
                " decodes them"
            )
            return None
        try:
            create_file(temporary, stored.shape, dtype=np.uint8)
            temporary.replace(file)
        except (OSError, OutputError) as error:
            say(f"{what} cannot be stored ({error}): every epoch decodes them")
            return None
    say(f"{what} are stored for later epochs, in {file.parent}")
    return PixelStore(file, stored.num_views)


def _delete_others(file: Path) -> None:
    """Delete stores of this run with other settings, and files that a killed run left behind."""
    name, _, _ = file.name.rpartition("-")
    for other in (*file.parent.glob(f"{name}-*.npy"), *file.parent.glob(f".{name}-*.npy.new")):
        other.unlink(missing_ok=True)


def _is_usable(file: Path, shape: tuple[int, ...]) -> bool:
    """Return whether a file of this shape exists; its rows are checked when they are read."""
    try:
        rows, _ = map_rows(file, mode="r+")
    except (OSError, ValueError, EOFError):
        return False
    return bool(rows.shape == shape and rows.dtype == np.uint8)


def _describe_file(record: CaptionRecord) -> str:
    image = record.image
    if isinstance(image, bytes):
        return hashlib.blake2b(image, digest_size=16).hexdigest()
    path = image if isinstance(image, Path) else image.archive
    try:
        status = path.stat()
    except OSError as error:
        # The error is reported when the image is decoded.
        return str(error)
    return f"{image}\0{status.st_size}\0{status.st_mtime_ns}"
