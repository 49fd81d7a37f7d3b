"""Tests do not wait until the disk has their files: about 7 ms for each file and each folder."""

from __future__ import annotations

import os
from typing import Any


def skip_syncing() -> None:
    """Let `os.fsync` of this process return at once: no test turns off the power.

    Processes that are killed, or that fill a disk, are started by the tests and do sync.
    """
    os.fsync = _check


def _check(handle: Any) -> None:
    """Raise what `os.fsync` raises for a file that is closed."""
    os.fstat(handle if isinstance(handle, int) else handle.fileno())
