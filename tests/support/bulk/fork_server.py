"""Runs commands of captune in forks of one process that has imported them: 0.2 s instead of 3 s.

`ForkServer` is its client. The server reads JSON lines with `words`, `folder`, `environment`,
`out` and `err`, and answers each with the process id, which leads a session, then the exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from PIL import Image

from support.places import ROOT

# Without torch, which starts threads: a fork has one.
_IMPORTED = (
    *("sqlite3", "numpy", "captune.cli.caption", "captune.inference.prepare", "captune.hub"),
    *("captune.inference.exported.cache", "captune.data.decoders.isolated", "captune.net"),
    "support.bulk.stub_captioner",
)


def stub_environment() -> dict[str, str]:
    """Return the environment in which captune loads the folders of stubs."""
    here = ROOT / "tests"
    path = [str(here / "support" / "bulk" / "site"), str(here), str(ROOT / "src")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}


class ForkedProcess:
    """A command in a fork, with the parts of `Popen` that tests use."""

    def __init__(self, server: ForkServer, out: Path, err: Path) -> None:
        """Read its process id; its end is read in a thread."""
        self._out, self._err = out, err
        self.pid = server.read_number()
        self.returncode: int | None = None
        self._ended = threading.Thread(target=self._wait, args=(server,), daemon=True)
        self._ended.start()

    def _wait(self, server: ForkServer) -> None:
        self.returncode = server.read_number()

    def poll(self) -> int | None:
        """Return its exit code; `None` while it runs."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Wait for its end, and return what it printed."""
        self._ended.join(timeout)
        if self._ended.is_alive():
            raise subprocess.TimeoutExpired("captune", timeout or 0)
        return self._out.read_bytes(), self._err.read_bytes()

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


class ForkServer:
    """Starts commands as forks of one process; one at a time."""

    def __init__(self) -> None:
        """Start the process, which imports captune first."""
        self._folder = tempfile.TemporaryDirectory(prefix="captune-forks-")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=stub_environment(),
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.communicate(timeout=60)
        self._folder.cleanup()

    def start(
        self, words: Sequence[str], folder: Path, *, environment: Mapping[str, str]
    ) -> ForkedProcess:
        """Start one command."""
        out, err = (Path(self._folder.name) / name for name in ("out", "err"))
        request = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**request, "out": str(out), "err": str(err)}) + "\n")
        self._process.stdin.flush()
        return ForkedProcess(self, out, err)

    def read_number(self) -> int:
        """Return the next answer."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def main() -> None:
    """Serve until stdin closes."""
    _import_all()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
        _answer(pid)
        _, status = os.waitpid(pid, 0)
        _answer(os.waitstatus_to_exitcode(status))


def _import_all() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    Image.init()


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _become(request: dict[str, Any]) -> None:
    """Run the command in this process, which ends with it."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    from support.bulk.events import count_if_asked

    count_if_asked()
    from captune.cli import main as run

    code = 1
    try:
        run(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        # Before or after the command's own handling of signals.
        code = 130
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        count_file = os.environ.get("CAPTUNE_TEST_EVENTS")
        if count_file:
            import atexit

            atexit._run_exitfuncs()
        os._exit(code)


if __name__ == "__main__":
    main()
