"""Freed memory is kept by a training process and returned by its decoding workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.runs.forks import run_script

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


def printed(code: str, folder: Path) -> str:
    """Return what code prints in a process that has done nothing else."""
    (folder / "script.py").write_text(code)
    process = run_script(folder / "script.py")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output.strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_a_worker_returns_memory_that_its_parent_would_keep(tmp_path: Path) -> None:
    assert printed(SCRIPT, tmp_path) == "True 0"


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
def test_freed_memory_beyond_two_gibibytes_is_kept_too(tmp_path: Path) -> None:
    assert printed(SCRIPT_OF_GIGABYTES, tmp_path) == "True"
