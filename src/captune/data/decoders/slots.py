"""Slots that limit how many pixels are decoded at the same time, by threads or processes.

Threads that decode one small image each need little memory; eight that decoded 81 megapixels each
used 8 GB. An image holds slots for its pixels from its header until it has been made small.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

SLOT_PIXELS = 4_000_000
"""Pixels per slot; an image holds at least one slot."""

NUM_SLOTS = 25
"""100 megapixels at once: enough for one image of the default `max_pixels`."""


class _Counter(Protocol):
    """A semaphore of `threading` or of `multiprocessing`."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...


class PixelSlots:
    """A fixed number of slots, shared by threads or by processes."""

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        free: _Counter,
        *,
        num_slots: int = NUM_SLOTS,
    ) -> None:
        """Use `for_threads` or `for_processes`.

        Args:
            lock: Held while slots are collected: two leases with half each would wait forever.
            free: Counts the free slots.
            num_slots: All slots.
        """
        self._lock = lock
        self._free = free
        self._num_slots = num_slots

    @classmethod
    def for_threads(cls, *, num_slots: int = NUM_SLOTS) -> PixelSlots:
        """Return slots that the threads of this process share."""
        return cls(threading.Lock(), threading.Semaphore(num_slots), num_slots=num_slots)

    @classmethod
    def for_processes(cls) -> PixelSlots:
        """Return slots that processes started by `multiprocessing` share, forked or spawned."""
        return cls(multiprocessing.Lock(), multiprocessing.Semaphore(NUM_SLOTS))

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Yield a lease without slots; slots taken in the block are released at its end."""
        lease = Lease(self._lock, self._free, num_slots=self._num_slots)
        try:
            yield lease
        finally:
            lease.give_back()


class Lease:
    """The slots of one image."""

    def __init__(
        self, lock: AbstractContextManager[Any], free: _Counter, *, num_slots: int
    ) -> None:
        self._lock = lock
        self._free = free
        self._num_slots = num_slots
        self._num_held = 0

    def take(self, num_pixels: int) -> None:
        """Wait for slots for this many pixels, which replace those that the lease holds.

        An image larger than all slots takes all of them.
        """
        wanted = min(self._num_slots, max(1, -(-num_pixels // SLOT_PIXELS)))
        if wanted == self._num_held:
            return
        # Released before waiting for more: the current collector may need them.
        self.give_back()
        with self._lock:
            while self._num_held < wanted:
                self._free.acquire()
                self._num_held += 1

    def give_back(self) -> None:
        """Release the slots that the lease holds."""
        while self._num_held:
            self._num_held -= 1
            self._free.release()
