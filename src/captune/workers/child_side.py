"""The side of the process that holds a model: its pipes, its signals, and its end."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from dataclasses import dataclass
from typing import IO

from captune.errors import MODEL_FAULTS, CaptuneError, ImageError
from captune.stopping import ignore_signals
from captune.workers.frames import send

MODEL_ERRORS = (*MODEL_FAULTS, OSError, CaptuneError)
"""Errors that loading a model, or captioning with it, may raise."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A message to the parent: a warning was shown."""

    text: str


class Link:
    """The pipes to the parent; `send` may be called from several threads."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        """Keep both pipes."""
        self.requests, self._answers = requests, answers
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        """Write a message.

        Raises:
            OSError: The parent is gone.
        """
        with self._lock:
            send(self._answers, message)


def open_link() -> Link:
    """Set up the process of a model, and return its pipes; called once, before anything else.

    Warnings go to the parent, each as `Warned`.
    """
    # The parent decides when to stop, even on a Ctrl-C that reaches every process.
    ignore_signals()
    # Libraries print to stdout, which is the pipe, so they get stderr instead.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    link = Link(sys.stdin.buffer, out)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    warnings.showwarning = lambda message, *_: link.send(Warned(str(message)))
    return link


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even if the model hangs."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def harmless_error(error: Exception) -> Exception:
    """Return an error that the parent can unpickle: torch's own classes need torch there."""
    if isinstance(error, CaptuneError) and not isinstance(error, ImageError):
        return error
    kind = MemoryError if isinstance(error, MemoryError) else RuntimeError
    return kind(f"{type(error).__name__}: {error}")
