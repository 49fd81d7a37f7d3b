"""A child process that runs a module of captune: its command line, and memory shared with it.

A plain subprocess, not `multiprocessing`: it does not import the user's script or need
`if __name__ == "__main__"`.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from pathlib import Path

# Not `-m`, which would search the current folder first for captune and all that it imports.
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import {function}; {function}()"


def child_command(entry: str, settings: object) -> list[str]:
    """Return the command that calls a function of a module in a child process.

    Args:
        entry: `module:function`, with the full name of the module.
        settings: Value that `read_settings` returns in the child.
    """
    path = [str(Path(entry).absolute()) for entry in sys.path]
    module, _, function = entry.partition(":")
    program = _PROGRAM.format(path=path, module=module, function=function)
    return [sys.executable, "-c", program, pickle.dumps(settings).hex()]


def read_settings() -> object:
    """Return the settings that the parent gave to `child_command`."""
    return pickle.loads(bytes.fromhex(sys.argv[1]))


def open_window(name: str, num_bytes: int) -> tuple[int, mmap.mmap | None]:
    """Return memory that a child can share; -1 and `None` where data must go through the pipe.

    Args:
        name: Name that tools of the system show.
        num_bytes: Its size.
    """
    if not hasattr(os, "memfd_create"):
        return -1, None
    descriptor = os.memfd_create(name)
    os.ftruncate(descriptor, num_bytes)
    return descriptor, mmap.mmap(descriptor, num_bytes)
