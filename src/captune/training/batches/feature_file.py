"""One file of cached features or pixels: a `.npy` array, followed by a checksum per row.

The array is memory-mapped, so that any number of processes read it without their own copies. The
checksums find rows that a faulty disk or a power cut has damaged, which would otherwise be trained
on.
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


def create_file(path: Path, shape: tuple[int, ...], *, dtype: Any = np.float16) -> None:
    """Create a file of zeros with all of its disk space allocated.

    Otherwise, mapped writes to a full disk would end the process by a signal, without a message.

    Args:
        path: The file; missing parent folders are created.
        shape: Shape of the array; the first dimension is the number of rows.
        dtype: Type of the values, stored as little-endian.

    Raises:
        OutputError: The disk is full, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            kind = np.dtype(dtype).newbyteorder("<")
            header = {"descr": kind.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            _fill_with_zeros(file, kind.itemsize * int(np.prod(shape)) + 4 * shape[0])
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
    """Return the rows, memory-mapped for reading."""
    return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]


def map_rows(path: Path, *, mode: Any) -> tuple[np.memmap[Any, Any], np.memmap[Any, Any]]:
    """Return rows and uint32 checksums, memory-mapped to read (`r`) or also to write (`r+`)."""
    array: np.memmap[Any, Any] = np.lib.format.open_memmap(path, mode=mode)
    return array, _map_sums(path, len(array), mode=mode)


def write_rows(path: Path, rows: Iterable[int], *, batches: Iterable[np.ndarray]) -> None:
    """Write some rows and their checksums into an existing file, and sync them.

    Args:
        path: The file.
        rows: Index of each row in the file.
        batches: The contents of the rows, float16 (B, ...), batch by batch.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        array, sums = map_rows(path, mode="r+")
        places = iter(rows)
        for batch in batches:
            # The batch first: otherwise zip would consume a place without using it.
            for row, place in zip(batch, places, strict=False):
                array[place] = row
                sums[place] = row_checksum(array[place])
        array.flush()
        sums.flush()
    except OSError as error:
        raise cannot_write(path, error) from error


def damaged_rows(path: Path, num_rows: int, *, rows: Iterable[int]) -> list[int] | None:
    """Return those of `rows` whose checksum does not match; `None`: the file is unusable.

    Args:
        path: The file.
        num_rows: Number of rows that the file must have.
        rows: Indices of the rows to check.
    """
    try:
        array = open_features(path)
        sums = _map_sums(path, num_rows, mode="r")
    except (OSError, ValueError, EOFError):
        return None
    header = path.stat().st_size - array.nbytes - sums.nbytes
    if array.dtype != np.float16 or len(array) != num_rows or header != array.offset:  # type: ignore[attr-defined]
        return None
    return [row for row in rows if row_checksum(array[row]) != sums[row]]


def _map_sums(path: Path, num_rows: int, *, mode: Any) -> np.memmap[Any, Any]:
    offset = path.stat().st_size - 4 * num_rows
    if offset < 0:
        raise ValueError("the file is too short")
    return np.memmap(path, np.uint32, mode, offset=offset, shape=(num_rows,))


def row_checksum(row: np.ndarray, start: int = 1) -> int:
    """Return the checksum of a row, which also depends on a start value; never 0."""
    # 0 marks a row that has not been written.
    return zlib.crc32(np.ascontiguousarray(row).data, start) or 1
