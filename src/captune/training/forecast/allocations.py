"""The allocations of a pass, from which the memory of larger passes is predicted.

For two images and for three, a model makes the same allocations in the same order, only larger
ones. So the allocations of any batch follow from two small passes, one by one. The peak of a larger
batch may be at another point of the pass: gradients grow while activations shrink.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from captune.hardware import Hardware
from captune.training.forecast.heap import Heap

_SMALLEST = 4096
"""Smaller allocations, in bytes, are omitted: they are many, and fit anywhere."""

MEASURED = (2, 3)
"""Images of the measured passes; with one image, some operations take another way."""


@dataclass(frozen=True, slots=True)
class PassMemory:
    """The allocations and releases of a pass over any number of images, in order.

    Attributes:
        events: An allocation is the number of its block from 0 on, a release is `~number`; (E,).
        fixed: Bytes of each block that do not depend on the number of images; (B,).
        per_image: Bytes of each block that each image adds; (B,).
        has_graph: Whether autograd records the pass, whose small objects take room in the heap.
    """

    events: npt.NDArray[np.int64]
    fixed: npt.NDArray[np.float64]
    per_image: npt.NDArray[np.float64]
    has_graph: bool = True

    def sizes(self, num_images: int) -> npt.NDArray[np.int64]:
        """Return the bytes of each block (B,) in a pass over a number of images."""
        sizes = np.maximum(self.fixed + num_images * self.per_image, 0.0)
        return np.ceil(sizes).astype(np.int64)

    def peak(self, num_images: int) -> int:
        """Return the peak of all blocks together in bytes."""
        return max(0, int(self._live_bytes(num_images).max(initial=0)))

    def place(self, heap: Heap, num_images: int) -> None:
        """Place and free a pass's blocks in a heap; those that it leaves are freed at its end."""
        heap.release_all(self._place(heap, num_images))
        heap.sweep()

    def place_kept(self, heap: Heap, num_images: int) -> list[int]:
        """Place a pass's blocks, and free all but those that it leaves; return their starts."""
        kept = self._place(heap, num_images)
        heap.sweep()
        return kept

    def _place(self, heap: Heap, num_images: int) -> list[int]:
        sizes = self.sizes(num_images).tolist()
        # Up to the peak the graph grows; the backward pass takes it down again.
        num_growing = 0
        if self.has_graph and len(self.events):
            num_growing = 1 + int(self._live_bytes(num_images).argmax())
        starts: dict[int, int] = {}
        for place, event in enumerate(self.events.tolist()):
            if event >= 0:
                starts[event] = heap.allocate(sizes[event], among_small=place < num_growing)
            else:
                heap.release(starts.pop(~event))
        return list(starts.values())

    def _live_bytes(self, num_images: int) -> npt.NDArray[np.int64]:
        """Return the bytes of all blocks together after each event (E,)."""
        sizes = self.sizes(num_images)
        is_release = self.events < 0
        sizes = sizes[np.where(is_release, ~self.events, self.events)]
        return np.cumsum(np.where(is_release, -sizes, sizes))


def measure_pass(
    run: Callable[[int], object], hardware: Hardware, *, has_graph: bool = True
) -> PassMemory:
    """Return the allocations of a pass, measured with two and three images.

    Args:
        run: Runs the pass over the given number of images; its result is dropped.
        hardware: The device whose memory is counted.
        has_graph: Whether autograd records the pass.
    """
    # Memory that the first pass keeps, such as reordered weights, does not belong to every pass.
    run(1)
    few, more = MEASURED
    smaller, larger = (_trace(run, count, hardware=hardware) for count in MEASURED)
    if np.array_equal(smaller[0], larger[0]):
        per_image = (larger[1] - smaller[1]) / (more - few)
        return PassMemory(smaller[0], smaller[1] - few * per_image, per_image, has_graph)
    is_fixed = _find_common(larger[1], smaller[1])
    fixed = np.where(is_fixed, larger[1], 0.0)
    return PassMemory(larger[0], fixed, np.where(is_fixed, 0.0, larger[1] / more), has_graph)


def _find_common(
    sizes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return which of the sizes are as frequent among the others: they do not grow with images."""
    counts = Counter(sizes.tolist())
    common = {size for size, count in Counter(others.tolist()).items() if counts[size] == count}
    return np.array([size in common for size in sizes.tolist()], bool)


def _trace(
    run: Callable[[int], object], count: int, *, hardware: Hardware
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return events and sizes of a pass, as in `PassMemory`.

    Releases of memory that was allocated before the pass are omitted.
    """
    # Otherwise the profiler's library prints to stderr.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run(count)
    kind = hardware.device.type.upper()
    events: list[int] = []
    sizes: list[float] = []
    blocks: dict[int, int] = {}
    for _, address, size in sorted(_find_changes(profile, kind)):
        if size >= _SMALLEST:
            blocks[address] = len(sizes)
            events.append(len(sizes))
            sizes.append(float(size))
        elif size < 0 and address in blocks:
            events.append(~blocks.pop(address))
    return np.array(events, np.int64), np.array(sizes, np.float64)


def _find_changes(profile: Any, kind: str) -> list[tuple[int, int, int]]:
    """Return time, address and size of each allocation, and with negative sizes of each release."""
    found = []
    waiting = list(profile.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.name == "[memory]" and event.extra_fields.device.type.upper() == kind:
            fields = event.extra_fields
            found.append((event.start_time_ns, fields.ptr, fields.alloc_size))
    return found
