"""`captune serve` in its own process: its address, log and child processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support.bulk.fork_server import stub_environment
from support.bulk.kills import PROGRAM

_START_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A running server.

    Attributes:
        process: Its process.
        log: Where its stderr goes.
        url: Its address.
    """

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.url.rpartition(":")[2])

    def client(self, **settings: Any) -> httpx.Client:
        """Return a client that uses no proxy."""
        settings.setdefault("timeout", 60.0)
        # There is no TLS here, and reading the machine's certificates takes longer than a request.
        settings.setdefault("verify", False)
        return httpx.Client(base_url=self.url, trust_env=False, **settings)

    def asynchronous(self, **settings: Any) -> httpx.AsyncClient:
        """Return a client for many requests at once."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        settings.setdefault("timeout", 120.0)
        settings.setdefault("verify", False)
        return httpx.AsyncClient(base_url=self.url, trust_env=False, limits=limits, **settings)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the log's events so far; every complete line after the first is JSON."""
        lines = self.log.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines if not line.endswith("Ctrl-C stops")]
        return [event for event in found if name in (None, event["event"])]

    def wait_ready(self, seconds: float = _START_SECONDS) -> float:
        """Wait until `/readyz` answers 200, and return the seconds that it took."""
        began = time.monotonic()
        with self.client() as client:
            while time.monotonic() - began < seconds:
                if self.process.poll() is not None:
                    raise AssertionError(self.log.read_text())
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        return time.monotonic() - began
                time.sleep(0.02)
        raise AssertionError(f"not ready after {seconds} s:\n{self.log.read_text()}")

    def metric(self, name: str) -> float:
        """Return the value of a metric, with its labels as in the text; 0 if it is absent."""
        with self.client() as client:
            text = client.get("/metrics").text
        for line in text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def workers(self) -> list[int]:
        """Return the processes with models: the server's own children."""
        return children(self.process.pid)

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 60.0) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextlib.contextmanager
def live_server(
    folder: Path,
    models: Sequence[str | Path],
    *flags: object,
    is_ready: bool = True,
    **environment: str,
) -> Iterator[LiveServer]:
    """Start a server in `folder`, at a free port; it is killed at the end of the block."""
    backend = [] if "--backend" in flags else ["--backend", "torch"]
    words = ["serve", *models, *backend, "--port", 0, *flags]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            env={**stub_environment(), **environment},
        )
    try:
        server = LiveServer(process, log, _read_url(process, log))
        if is_ready:
            server.wait_ready()
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read_url(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if line.endswith("; Ctrl-C stops"):
                return line.removesuffix("; Ctrl-C stops").rpartition(" ")[2]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def children(process_id: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == process_id and after_name[0] != "Z":
                    found.append(int(entry.name))
    return sorted(found)


def family(process_id: int) -> list[int]:
    """Return a process and all its descendants."""
    return [process_id, *(one for child in children(process_id) for one in family(child))]


def resident_bytes(process_ids: Sequence[int]) -> int:
    """Return the memory of processes, each page that they share counted once."""
    total = 0
    for process_id in process_ids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
    return total
