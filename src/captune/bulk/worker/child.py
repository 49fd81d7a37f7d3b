"""The process that holds the model: it captions what comes through its stdin."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import IO

from captune.bulk.worker.open_model import load_here
from captune.bulk.worker.wire import (
    Broken,
    Complete,
    Done,
    Failed,
    Images,
    Message,
    Ready,
    StartStream,
    Want,
    Warned,
    receive,
    send,
)
from captune.errors import CaptuneError, ImageError
from captune.inference import AnyImage, LoadedCaptioner, RunRequest

_ERRORS = (
    *(RuntimeError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError, OSError),
    CaptuneError,
)


def run_model() -> None:
    """Load the model that the first message names, and caption until stdin closes."""
    # The parent decides when to stop, also at a Ctrl-C that reaches all.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Libraries print to stdout: that is the pipe, so they get stderr instead.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    link = _Link(sys.stdin.buffer, out)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    warnings.showwarning = lambda message, *_: link.send(Warned(str(message)))
    with contextlib.suppress(EOFError, BrokenPipeError):
        request = receive(link.requests)
        assert isinstance(request, RunRequest)
        try:
            captioner = load_here(request)
        except _ERRORS as error:
            link.send(Broken(_plain(error)))
            return
        link.send(Ready(captioner.describe()))
        while True:
            _answer(link, captioner, receive(link.requests))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, even if the model hangs."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


class _Link:
    """The pipes, written by two threads."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self.requests, self._answers = requests, answers
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Write a message."""
        with self._lock:
            send(self._answers, message)


def _answer(link: _Link, captioner: LoadedCaptioner, request: Message) -> None:
    try:
        if isinstance(request, Complete):
            link.send(captioner.complete(request.decoding))
        elif isinstance(request, StartStream):
            _caption(link, captioner, request)
    except _ERRORS as error:
        if isinstance(error, BrokenPipeError):
            raise
        link.send(Broken(_plain(error)))


def _caption(link: _Link, captioner: LoadedCaptioner, start: StartStream) -> None:
    feed = _Feed(link, size=2 * start.batch_size)
    predictions = captioner.stream(
        feed.images(),
        config=start.config,
        batch_size=start.batch_size,
        decode=start.decode,
        on_failure=lambda name, error: link.send(Failed(name, error)),
    )
    with contextlib.closing(predictions):
        for prediction in predictions:
            link.send(prediction)
    link.send(Done())


class _Feed:
    """Asks for images ahead of the model, in a thread, so that it never waits for the pipe."""

    def __init__(self, link: _Link, *, size: int) -> None:
        self._link = link
        self._ready: queue.Queue[tuple[str, AnyImage] | None] = queue.Queue(size)
        threading.Thread(target=self._read, name="captune-feed", daemon=True).start()

    def images(self) -> Iterator[tuple[str, AnyImage]]:
        """Yield the images."""
        while (one := self._ready.get()) is not None:
            yield one

    def _read(self) -> None:
        try:
            while True:
                self._link.send(Want())
                answer = receive(self._link.requests)
                if not isinstance(answer, Images) or not answer.images:
                    break
                for one in answer.images:
                    self._ready.put(one)
        except (EOFError, OSError):
            # The parent is gone; nobody needs the captions.
            os._exit(0)
        self._ready.put(None)


def _plain(error: Exception) -> Exception:
    """Return an error that the parent can unpickle: torch's own classes need torch there."""
    if isinstance(error, CaptuneError) and not isinstance(error, ImageError):
        return error
    kind = MemoryError if isinstance(error, MemoryError) else RuntimeError
    return kind(f"{type(error).__name__}: {error}")
