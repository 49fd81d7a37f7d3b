"""The model of the heap: where blocks go, and how long the heap becomes."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from captune.training.forecast.heap import Heap

MIB = 1 << 20


def test_freed_memory_is_used_again() -> None:
    heap = Heap()
    for _ in range(5):
        heap.release(heap.allocate(MIB))
    assert heap.length == pytest.approx(MIB, rel=0.001)


def test_a_larger_block_does_not_fit_into_freed_memory_with_a_block_behind_it() -> None:
    heap = Heap()
    first = heap.allocate(MIB)
    heap.allocate(1)
    heap.release(first)
    heap.allocate(2 * MIB)
    assert heap.length == pytest.approx(3 * MIB, rel=0.001)


def test_freed_neighbours_are_joined() -> None:
    heap = Heap()
    blocks = heap.allocate_all([MIB, MIB, MIB, 1])
    heap.sweep()
    # The last of the three joins the pieces on both sides.
    for place in (0, 2, 1):
        heap.release(blocks[place])
    heap.allocate(3 * MIB - 1024)
    assert heap.length == pytest.approx(3 * MIB, rel=0.001)


def test_a_block_goes_into_the_smallest_piece_that_fits() -> None:
    heap = Heap()
    large, _, small, _ = heap.allocate_all([4 * MIB, 1, 2 * MIB, 1])
    heap.release_all([large, small])
    assert heap.allocate(MIB) == small
    assert heap.allocate(3 * MIB) == large


def test_a_block_cannot_take_the_place_of_one_of_its_size_until_small_objects_are_freed() -> None:
    heap = Heap()
    first, _ = heap.allocate_all([MIB, MIB])
    heap.release(first)
    assert heap.allocate(MIB) != first
    heap.sweep()
    assert heap.allocate(MIB) == first


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is read as on Linux")
def test_heaps_get_as_long_as_those_of_glibc() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library is not glibc")
    own, theirs = 0, 0
    for seed in range(6):
        heap, steps = random_heap(seed)
        command = [sys.executable, "-c", GLIBC, repr(steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        own, theirs = own + heap.length, theirs + int(done.stdout)
    # A single heap of glibc differs by up to a sixth from run to run.
    assert own == pytest.approx(theirs, rel=0.1)


def random_heap(seed: int) -> tuple[Heap, list[tuple[int, int]]]:
    """Return a heap with 2,000 random changes, and their numbers and sizes; 0: a release."""
    rng = np.random.default_rng(seed)
    heap, blocks, steps = Heap(), {}, []
    for number in range(2000):
        if blocks and rng.random() < 0.5:
            chosen = int(rng.choice(list(blocks)))
            heap.release(blocks.pop(chosen))
            steps.append((chosen, 0))
        else:
            size = int(2 ** rng.uniform(12, 24))
            blocks[number] = heap.allocate(size)
            steps.append((number, size))
    return heap, steps


GLIBC = """
import ast, ctypes, sys
libc = ctypes.CDLL(None)
libc.mallopt(-4, 0)
libc.mallopt(-1, 2**31 - 1)
libc.sbrk.restype = ctypes.c_void_p
libc.sbrk.argtypes = [ctypes.c_long]
libc.aligned_alloc.restype = ctypes.c_void_p
libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
steps, blocks = ast.literal_eval(sys.argv[1]), {}
start = libc.sbrk(0)
for number, size in steps:
    if size:
        blocks[number] = libc.aligned_alloc(64, size)
        for small in (24, 40, 56, 72):
            libc.malloc(small)
    else:
        libc.free(blocks.pop(number))
print(libc.sbrk(0) - start)
"""
