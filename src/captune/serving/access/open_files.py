"""The files that a process may have open, of which each connection is one.

Many systems allow 1024 at first and far more on request. Without a free one, no connection can be
accepted, not even to close an idle one in its place, and asyncio logs an error for each attempt.
"""

from __future__ import annotations

import contextlib

_OTHER_FILES = 256
"""Pipes to the models' processes, downloads, and everything else."""


def find_room(connections: int, backlog: int) -> tuple[int, int]:
    """Raise this process's limit of open files, and return what it has room for.

    Args:
        connections: Open connections wanted.
        backlog: Connections wanted that wait to be accepted; asyncio accepts them in one go, before
            any of them can be closed.

    Returns:
        Both numbers; smaller if the system allows fewer files.
    """
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return connections, backlog
    wanted = connections + backlog + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections, backlog
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return connections, backlog
    return min(connections, soft // 2), min(backlog, max(1, soft // 4))
