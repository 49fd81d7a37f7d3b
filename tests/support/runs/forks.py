"""Scripts and commands in forks of one process that has imported torch, transformers and captune.

Importing them takes longer than most trainings of the tests. The process is `multiprocessing`'s
fork server, started once per test process; Windows has none, and imports them each time.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.syncing import skip_syncing

_HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
FORKS: Any = multiprocessing.get_context("forkserver" if _HAS_SERVER else "spawn")
"""How processes are started."""
FORKS.set_forkserver_preload(["captune.data", "captune.training", "captune.pipeline"])


class ForkedRun:
    """A process with the parts of `Popen` that tests use; it leads a process group.

    Attributes:
        pid: Its process id, which is that of its group.
    """

    def __init__(
        self,
        work: Callable[..., None],
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            work: Called in the process; a function of a module.
            *arguments: Given to it.
            environment: Variables that differ from this process's.
            folder: Its current folder.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="captune-fork-")
        self._output = Path(self._folder.name) / "output"
        self._output.touch()
        # The server has the environment of its start; a test may have changed its own since.
        variables = {**os.environ, **(environment or {})}
        surroundings = (str(self._output), variables, str(folder or Path.cwd()))
        self._process = FORKS.Process(target=_become, args=(work, arguments, *surroundings))
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the number of the signal that ended it, negative."""
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        """Return the exit code; `None` while it runs."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and return what it printed on both streams, and nothing."""
        self._process.join(timeout)
        if self._process.is_alive():
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        text = self._output.read_text(encoding="utf-8", errors="replace")
        self._folder.cleanup()
        return text, ""

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()


def run_script(script: Path, *arguments: object, **surroundings: Any) -> ForkedRun:
    """Start a Python file, as `python SCRIPT ARGUMENTS`."""
    return ForkedRun(_run_file, str(script), [str(word) for word in arguments], **surroundings)


def run_captune(words: Sequence[object], **surroundings: Any) -> ForkedRun:
    """Start `captune WORDS`."""
    return ForkedRun(_run_command, [str(word) for word in words], **surroundings)


def _become(
    work: Callable[..., None],
    arguments: Sequence[object],
    output: str,
    environment: Mapping[str, str],
    folder: str,
) -> None:
    if hasattr(os, "setsid"):
        os.setsid()
    # Each training collects garbage: without what was imported before the fork.
    gc.freeze()
    # Of a shell's background job, SIGINT is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    skip_syncing()
    work(*arguments)


def _run_file(script: str, arguments: list[str]) -> None:
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def _run_command(words: list[str]) -> None:
    from captune.cli import main

    sys.argv = ["captune", *words]
    main(words)
