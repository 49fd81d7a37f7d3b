"""An open file that slices like bytes: only the requested parts are read."""

from __future__ import annotations

import os
from typing import IO

_BLOCK = 4_096


class FileView:
    """Slices of a file, read on request; small ones come from a cached block."""

    def __init__(self, file: IO[bytes]) -> None:
        """Keep an open file, which the caller closes."""
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._start, self._block = 0, b""

    def __len__(self) -> int:
        """Return the file's size."""
        return self._size

    def __getitem__(self, place: slice) -> bytes:
        """Return the bytes of a slice, whose step is ignored."""
        start, stop, _ = place.indices(self._size)
        if stop - start > _BLOCK:
            return self._read(start, stop - start)
        if not self._start <= start <= stop <= self._start + len(self._block):
            self._start, self._block = start, self._read(start, _BLOCK)
        return self._block[start - self._start : stop - self._start]

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)


Content = bytes | FileView
"""A whole file in memory, or an open one."""
