"""Several processes of one script, as a launcher starts them."""

from __future__ import annotations

import socket

from support.runs import SCRIPTS
from support.runs.forks import run_script


def launch_ranks(script: str, *arguments: object, processes: int, timeout: float = 400) -> str:
    """Run a script of this folder as several processes, and return what they printed.

    Raises:
        AssertionError: One of them failed.
    """
    running = [
        run_script(SCRIPTS / script, *arguments, environment=environment)
        for environment in _environments(processes)
    ]
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, "\n".join(outputs)
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
