"""The parent's side of a process with a model: start it, exchange messages, end it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from typing import IO, Any

from captune.data import child_command
from captune.workers.frames import receive, send

_MAX_LINE = 4096


class ModelProcess:
    """One child process and its pipes; a thread reads its answers."""

    def __init__(
        self,
        entry: str,
        on_message: Callable[[Any], None],
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Start the process.

        Args:
            entry: `module:function` that the process calls.
            on_message: Called in the reading thread with each answer; with `None` when the process
                has closed its pipe.
            on_line: Called in another thread with each line that a library prints; `None`: the
                lines go to this process's stderr.

        Raises:
            OSError: The process cannot be started.
            RuntimeError: Its threads cannot be started.
        """
        pipe = subprocess.PIPE
        errors = None if on_line is None else pipe
        self._child = subprocess.Popen(
            child_command(entry, None), stdin=pipe, stdout=pipe, stderr=errors
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests: IO[bytes] = self._child.stdin
        self._on_message = on_message
        threads = [threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)]
        if on_line is not None and self._child.stderr is not None:
            printed = (self._child.stderr, on_line)
            threads.append(threading.Thread(target=_pass_lines, args=printed, daemon=True))
        try:
            for thread in threads:
                thread.start()
        except RuntimeError:
            self.close()
            raise

    @property
    def process_id(self) -> int:
        """The id of the process."""
        return self._child.pid

    def send(self, message: object) -> None:
        """Write a message; a process that is gone is noticed when its answer is read."""
        try:
            send(self._requests, message)
        except (OSError, ValueError):
            return

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit code; negative: a signal."""
        return self._child.wait()

    def close(self) -> None:
        """Kill the process; may be called twice."""
        self._child.kill()
        self._child.wait()
        try:
            self._requests.close()
        except OSError:
            return

    def _read(self, answers: IO[bytes]) -> None:
        try:
            while True:
                self._on_message(receive(answers))
        except (EOFError, OSError, ValueError):
            return
        finally:
            # After an unexpected error too: without its answers, the process is of no use.
            answers.close()
            self._on_message(None)


def _pass_lines(printed: IO[bytes], on_line: Callable[[str], None]) -> None:
    with printed:
        # A limit, because a progress bar may print no line end for a long time.
        while line := printed.readline(_MAX_LINE):
            text = line.decode("utf-8", "replace").strip()
            if text:
                on_line(text)
