"""Several processes of one script, as a launcher starts them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from support.runs import SCRIPTS
from support.runs.forks import ForkedRun, run_captune, run_script


def launch_ranks(script: str, *arguments: object, processes: int, timeout: float = 400) -> str:
    """Run a script of this folder as several processes, and return what they printed.

    Raises:
        AssertionError: One of them failed.
    """
    environments = _environments(processes)
    path = SCRIPTS / script
    return _finish([run_script(path, *arguments, environment=e) for e in environments], timeout)


def launch_captune(words: Sequence[object], *, processes: int) -> str:
    """Run `captune WORDS` as several processes, and return what they printed.

    Raises:
        AssertionError: One of them failed.
    """
    return _finish([run_captune(words, environment=e) for e in _environments(processes)], 400)


def _finish(running: list[ForkedRun], timeout: float) -> str:
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(outputs)
    return "\n".join(outputs)


def _environments(processes: int) -> list[dict[str, str]]:
    shared = {
        **{"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()},
        **{"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    }
    return [{**shared, "RANK": str(n), "LOCAL_RANK": str(n)} for n in range(processes)]


def free_port() -> str:
    """Return a port of this machine that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])
