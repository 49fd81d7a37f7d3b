"""Limits of memory and time for an image that is decoded in a child process.

Both grow with the number of pixels in its header: a small image whose file needs gigabytes (a TIFF
with 8,000 tags over the same bytes) is stopped early, and a large photograph is not.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA_FIELD = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one image.

    Attributes:
        base_bytes: Memory beyond that of the idle process, whatever the size of the image.
        bytes_per_pixel: Further memory per pixel: WebP and AVIF keep several copies.
        base_seconds: Time for the header, and for decoding, whatever the size of the image.
        seconds_per_megapixel: Further time per million pixels.
        start_seconds: Time for the process to start.
    """

    base_bytes: int = 512 << 20
    bytes_per_pixel: int = 24
    base_seconds: float = 10.0
    seconds_per_megapixel: float = 0.2
    start_seconds: float = 60.0

    def bytes_for(self, num_pixels: int) -> int:
        """Return the memory limit for an image with this many pixels, in bytes."""
        return self.base_bytes + self.bytes_per_pixel * num_pixels

    def seconds_for(self, num_pixels: int) -> float:
        """Return the time limit for an image with this many pixels, in seconds."""
        return self.base_seconds + self.seconds_per_megapixel * num_pixels / 1e6


def limit_memory(num_bytes: int) -> bool:
    """Limit what this process may allocate from now on; a later call replaces the limit.

    Returns:
        Whether the limit was set: Windows has no such limits, and macOS does not enforce them.
    """
    resource, used = _resource(), _used_bytes()
    if resource is None or used is None:
        return False
    _set_soft(resource, resource.RLIMIT_AS, used + num_bytes)
    return True


def limit_data(num_bytes: int) -> bool:
    """Limit what this process may allocate, like `limit_memory`, but not the files it maps.

    Returns:
        Whether the limit was set.
    """
    resource, used = _resource(), _used_bytes(_DATA_FIELD)
    if resource is None or used is None:
        return False
    _set_soft(resource, resource.RLIMIT_DATA, used + num_bytes)
    return True


def forbid_core_files() -> None:
    """Write no core file when a broken image crashes this process."""
    resource = _resource()
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def end_after(seconds: float) -> None:
    """Let the system end this process after this time, even if its parent is gone; 0: never.

    Windows has no such alarm.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _set_soft(resource: Any, kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (soft, hard))


def _resource() -> Any:
    """Return the module `resource`; `None` where the system has none."""
    return importlib.import_module("resource") if os.name == "posix" else None


def _used_bytes(field: int = 0) -> int | None:
    """Return the memory in use in bytes; `None` where it is unknown (all but Linux).

    Args:
        field: The number in `/proc/self/statm`; 0: the whole address space.
    """
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[field])
        return pages * math.trunc(os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        return None
