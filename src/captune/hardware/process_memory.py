"""The memory that this process has, and that the machine, a container or `ulimit` leaves it.

With a limit on the process (`ulimit -d`, `ulimit -v`), allocations fail instead of ending the
process. A heap keeps the addresses of what it has freed, which count against the limit: once it has
reached the limit, libraries cannot map memory any more, and even one image may fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

_NEAR = 64 * 2**20
"""Bytes below a limit at which a library's allocation may have failed."""

_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""Limit and use of memory inside a container, of both versions of cgroups."""


def free_on_machine() -> int | None:
    """Return the bytes of memory available to this process, where the system reports them."""
    left = list(_left_by_limits())
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable"))
        left.append(int(line.split()[1]) * 1024)
    for most, used in _CGROUP_FILES:
        # The limit may be the word `max`.
        with contextlib.suppress(OSError, ValueError):
            left.append(int(Path(most).read_text("ascii")) - int(Path(used).read_text("ascii")))
    return max(0, min(left)) if left else None


def has_limit() -> bool:
    """Return whether this process may use only a part of the machine's memory (`ulimit`)."""
    return any(True for _ in _left_by_limits())


def is_at_limit() -> bool:
    """Return whether a limit on this process leaves so little that a library may have failed."""
    return any(left < _NEAR for left in _left_by_limits())


def peak_of_process() -> int:
    """Return the most resident memory that this process has had, in bytes; 0: not reported."""
    if sys.platform == "win32":
        return 0
    # Not getrusage's, if there is another: that includes the process which started this one.
    peak = _read_status("VmHWM:") if sys.platform == "linux" else None
    if peak is not None:
        return peak
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def return_free_memory() -> None:
    """Return to the system what the C library holds without using it."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        # Training keeps freed memory, which counts against a limit of the process. Only the end of
        # the heap stops counting: pages inside it are freed, but their addresses remain.
        ctypes.CDLL(None).malloc_trim(0)


def _left_by_limits() -> Iterator[int]:
    """Yield the bytes that each limit on this process leaves; Linux only."""
    if sys.platform != "linux":
        return
    import resource

    for limit, field in ((resource.RLIMIT_DATA, "VmData:"), (resource.RLIMIT_AS, "VmSize:")):
        most, _ = resource.getrlimit(limit)
        if most == resource.RLIM_INFINITY:
            continue
        used = _read_status(field)
        if used is not None:
            yield most - used


def _read_status(field: str) -> int | None:
    """Return a figure of Linux about this process, in bytes; `None`: it is not given."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        text = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        line = next(line for line in text.splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024
    return None
