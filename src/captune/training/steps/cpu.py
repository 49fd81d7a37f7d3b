"""Keep freed memory for the next step: on Linux CPUs, page faults took half of the time.

glibc returns large blocks to the kernel whenever they are freed, and every step faults them in
again. Measured on 2 cores (MobileNetV2 and a 2-layer decoder, 32 images per step): keeping them
lowers the system time of 15 steps from 9.6 to 1.7 seconds.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_NEVER = -1
"""As a size, the largest. 2**31 - 1 would return free memory beyond 2 GiB in every step."""


_MMAP_MAX = 65_536
"""glibc's default, in blocks."""

_TRIM_THRESHOLD = 128 << 10
"""glibc's default, in bytes."""


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; return whether the system supports it."""
    return _set_options({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER})


def return_freed_memory() -> None:
    """Make glibc return freed memory again, in a worker forked from a process that keeps it.

    Eight workers that each keep the memory of one image of 81 megapixels would hold 5 GB.
    """
    _set_options({_M_MMAP_MAX: _MMAP_MAX, _M_TRIM_THRESHOLD: _TRIM_THRESHOLD})


def _set_options(options: Mapping[int, int]) -> bool:
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(bool(mallopt(option, value)) for option, value in options.items())
