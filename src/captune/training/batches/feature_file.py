"""One file of cached features: a `.npy` array with a checksum of each row behind it.

The array is mapped, so that any number of processes read it without copying it into memory. The
checksums find rows that a disk or a power cut has damaged: they would otherwise train silently.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from captune.storage import cannot_write

Features = np.ndarray[Any, np.dtype[np.float16]]


def create_file(path: Path, shape: tuple[int, ...]) -> None:
    """Make a file for float16 rows, with all its room on the disk.

    Mapped writes to a disk that is full would end the process by a signal, without a word.

    Raises:
        OutputError: There is no room, or the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _fill_with_zeros(file, 2 * int(np.prod(shape)) + 4 * shape[0])
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def _fill_with_zeros(file: IO[bytes], size: int) -> None:
    file.flush()
    if hasattr(os, "posix_fallocate"):
        if size:
            os.posix_fallocate(file.fileno(), file.tell(), size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        file.write(zeros[: size - start])


def open_features(path: Path) -> Features:
    """Map the rows for reading."""
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def write_rows(path: Path, rows: Iterable[int], *, batches: Iterable[np.ndarray]) -> None:
    """Write some rows and their checksums into a file that is there, and sync them.

    Args:
        path: The file.
        rows: Where each row goes.
        batches: The rows, float16 (B, ...), batch by batch.

    Raises:
        OutputError: The disk is gone.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r+")
        sums = _map_sums(path, len(array), mode="r+")
        places = iter(rows)
        for batch in batches:
            # The batch first: zip would take a place that it does not use.
            for row, place in zip(batch, places, strict=False):
                array[place] = row
                sums[place] = _checksum(array[place])
        array.flush()
        sums.flush()
    except OSError as error:
        raise cannot_write(path, error) from error


def damaged_rows(path: Path, num_rows: int, *, rows: Iterable[int]) -> list[int] | None:
    """Return those of `rows` that are not as they were written; `None`: the file is no use."""
    try:
        array = open_features(path)
        sums = _map_sums(path, num_rows, mode="r")
    except (OSError, ValueError, EOFError):
        return None
    header = path.stat().st_size - array.nbytes - sums.nbytes
    if array.dtype != np.float16 or len(array) != num_rows or header != array.offset:  # type: ignore[attr-defined]
        return None
    return [row for row in rows if _checksum(array[row]) != sums[row]]


def _map_sums(path: Path, num_rows: int, *, mode: Any) -> np.memmap[Any, Any]:
    offset = path.stat().st_size - 4 * num_rows
    if offset < 0:
        raise ValueError("the file is too short")
    return np.memmap(path, np.uint32, mode, offset=offset, shape=(num_rows,))


def _checksum(row: np.ndarray) -> int:
    # A row of zeros, as a hole in a file reads, must not have the sum 0.
    return zlib.crc32(np.ascontiguousarray(row).data, 1)
