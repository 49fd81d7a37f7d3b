"""Freed memory is kept by a training process and returned by its decoding workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os
import numpy as np
from captune.training.steps.cpu import keep_freed_memory, return_freed_memory

def used():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20

def kept_of_200_megabytes():
    before = used()
    array = np.ones(200 << 20, np.uint8)
    del array
    return used() - before

keep_freed_memory()
if os.fork() == 0:
    return_freed_memory()
    os._exit(kept_of_200_megabytes() > 100)
_, status = os.wait()
print(kept_of_200_megabytes() > 100, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_a_worker_returns_memory_that_its_parent_would_keep():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "0"]


SCRIPT_OF_GIGABYTES = """
import ctypes
import numpy as np
from captune.training.steps.cpu import keep_freed_memory

libc = ctypes.CDLL(None)
libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_long]
keep_freed_memory()
start = libc.sbrk(0)
# Never touched, so it takes address space only.
array = np.empty(3 << 30, np.uint8)
del array
print(libc.sbrk(0) - start > 2.9 * 2**30)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
@pytest.mark.slow
def test_freed_memory_beyond_two_gibibytes_is_kept_too():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT_OF_GIGABYTES], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True"]
