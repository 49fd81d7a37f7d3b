"""A model of the heap of a process: what freed memory that larger tensors do not fit into costs.

Training on CPUs keeps freed memory (`training/steps/cpu.py`), so the process takes as much as its
heap was ever long. glibc puts a block into the smallest free piece that is large enough, joins free
neighbours, and makes the heap longer if no piece is large enough. An aligned block needs a piece
that is larger than the block; in training, what is left over is soon taken by some small object of
autograd. So a tensor often cannot take the place of a freed one of the same size, and the heap
becomes up to twice as long as its tensors (docs/log.md).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

_ALIGNMENT = 64
"""torch aligns tensors to lines of the cache."""

_HEADER = 16
"""Bytes in front of a block in which glibc keeps its size."""

_SMALLEST = 32
"""Bytes of the smallest piece that glibc keeps."""

_CRUMB = 128
"""Bytes below which a piece is taken by small objects: those of Python, torch and autograd."""


class Heap:
    """Places blocks as glibc does, without touching memory.

    Attributes:
        length: Bytes up to the end of the last block that was ever placed.
    """

    def __init__(self) -> None:
        self.length = 0
        self._end = 0
        self._blocks: dict[int, int] = {}
        self._free_by_start: dict[int, int] = {}
        self._free_by_end: dict[int, int] = {}
        self._free_sizes: list[tuple[int, int]] = []
        self._crumbs: dict[int, int] = {}

    def sweep(self) -> None:
        """Free the small objects, as at the end of a pass."""
        crumbs, self._crumbs = self._crumbs, {}
        self._blocks.update(crumbs)
        self.release_all(crumbs)

    def allocate(self, size: int, *, among_small: bool = True) -> int:
        """Place a block and return its start.

        Args:
            size: Bytes.
            among_small: Whether small objects take what the block leaves of its piece.
        """
        size = max(_SMALLEST, -(-(size + 8) // 16) * 16)
        # glibc looks for so much that an aligned block fits at any place.
        place = bisect_left(self._free_sizes, (size + _ALIGNMENT + _SMALLEST, 0))
        if place < len(self._free_sizes):
            free, piece = self._free_sizes[place]
            self._take(piece, free)
        else:
            # The free end of the heap is not among the pieces.
            piece, free = self._end, 0
        start = -(-(piece + _HEADER) // _ALIGNMENT) * _ALIGNMENT - _HEADER
        if 0 < start - piece < _SMALLEST:
            start += _ALIGNMENT
        if start > piece:
            self._leave(piece, start - piece, among_small=among_small)
        if not free:
            self._end = start + size
            self.length = max(self.length, self._end)
        elif piece + free > start + size:
            self._leave(start + size, piece + free - start - size, among_small=among_small)
        self._blocks[start] = size
        return start

    def allocate_all(self, sizes: Iterable[int]) -> list[int]:
        """Place several blocks and return their starts."""
        return [self.allocate(size) for size in sizes]

    def release_all(self, starts: Iterable[int]) -> None:
        """Free several blocks."""
        for start in starts:
            self.release(start)

    def release(self, start: int) -> None:
        """Free the block at `start`, and join it with free neighbours."""
        size = self._blocks.pop(start)
        before = self._free_by_end.get(start)
        if before is not None:
            free = start - before
            self._take(before, free)
            start, size = before, size + free
        after = self._free_by_start.get(start + size)
        if after is not None:
            self._take(start + size, after)
            size += after
        if start + size == self._end:
            self._end = start
        else:
            self._add(start, size)

    def _leave(self, start: int, size: int, *, among_small: bool) -> None:
        """Keep what a block has left of its piece, unless small objects take it."""
        if among_small and size < _CRUMB:
            self._crumbs[start] = size
        else:
            self._add(start, size)

    def _add(self, start: int, size: int) -> None:
        self._free_by_start[start] = size
        self._free_by_end[start + size] = start
        insort(self._free_sizes, (size, start))

    def _take(self, start: int, size: int) -> None:
        del self._free_by_start[start], self._free_by_end[start + size]
        del self._free_sizes[bisect_left(self._free_sizes, (size, start))]
