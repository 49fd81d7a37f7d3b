"""Worker processes that fingerprint small images: Pillow's own work holds the interpreter's lock.

Threads decode large images on all cores, but thumbnails of 64 pixels no faster than one thread.
A worker gets the sources of many images at once and answers with their fingerprints. It is a plain
subprocess, like the processes that isolate decoding (`decoders/process.py`), but under no limits:
images that need isolation or many pixels stay with the parent.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from captune.data.check.fingerprints import FINGERPRINT, FingerprintBatch
from captune.data.decoders.process import ENVIRONMENT
from captune.data.decoders.slots import SLOT_PIXELS
from captune.data.decoders.wire import read_request, write_request
from captune.data.images import decode_upright, describe_source
from captune.errors import ImageError
from captune.records import ImageSource
from captune.stopping import ignore_signals

_PROGRAM = (
    "import sys; sys.path[:] = {path!r};"
    " from captune.data.check.fingerprint_process import run_worker; run_worker({max_pixels})"
)


@dataclass(frozen=True, slots=True)
class PrintsRead:
    """The answer for some images.

    Attributes:
        rows: Fingerprints of the images that were read, `FINGERPRINT` (n,), in order.
        errors: By position, why an image cannot be read.
        left: Positions that the worker leaves to its parent: large images, and all of them when
            it ended.
    """

    rows: npt.NDArray[np.void]
    errors: dict[int, ImageError] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)


class FingerprintWorkers:
    """A few long-lived workers; safe to use from as many threads. Use it in a `with` block."""

    def __init__(self, count: int, *, max_pixels: int) -> None:
        """Store the settings; a worker starts when it is first needed.

        Args:
            count: Number of workers, and of threads that use them.
            max_pixels: Images with more are unreadable.
        """
        self._max_pixels = max_pixels
        self._started: list[subprocess.Popen[bytes]] = []
        self._mutex, self._is_closed = threading.Lock(), False
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def __enter__(self) -> Self:
        """Return the workers."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every worker, even while it decodes; none starts afterwards."""
        with self._mutex:
            self._is_closed = True
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    def read(self, sources: Sequence[str | ImageSource]) -> PrintsRead:
        """Read some images; text is the path of a file."""
        process = self._idle.get()
        try:
            process = process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            given = [os.fspath(each) if isinstance(each, Path) else each for each in sources]
            write_request(process.stdin, pickle.dumps(given))
            facts = json.loads(read_request(process.stdout))
            rows = np.frombuffer(read_request(process.stdout), FINGERPRINT)
        except (OSError, EOFError, ValueError):
            # It was killed, or a decoder crashed: the parent decides image by image.
            if process is not None:
                process.kill()
                process = None
            return PrintsRead(np.zeros(0, FINGERPRINT), left=list(range(len(sources))))
        finally:
            self._idle.put(process)
        errors = {
            place: ImageError(what, where=where, fix=fix)
            for place, what, where, fix in facts["errors"]
        }
        return PrintsRead(rows, errors, facts["left"])

    def _start(self) -> subprocess.Popen[bytes]:
        with self._mutex:
            if self._is_closed:
                raise EOFError
            process = self._open()
            self._started.append(process)
            return process

    def _open(self) -> subprocess.Popen[bytes]:
        path = [str(Path(entry).absolute()) for entry in sys.path]
        program = _PROGRAM.format(path=path, max_pixels=self._max_pixels)
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **ENVIRONMENT},
        )


def run_worker(max_pixels: int) -> None:
    """Read requests on stdin until the parent closes the pipe."""
    ignore_signals()
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    while True:
        try:
            given = pickle.loads(read_request(requests))
        except EOFError:
            return
        _answer(given, answers, max_pixels=max_pixels)


class _LargeImageError(Exception):
    """The parent decodes this image: together, workers and threads hold few pixels."""


def _answer(given: Sequence[object], answers: IO[bytes], *, max_pixels: int) -> None:
    batch = FingerprintBatch(len(given))
    errors: list[tuple[int, str, str, str]] = []
    left: list[int] = []
    for place, each in enumerate(given):
        source: ImageSource = Path(each) if isinstance(each, str) else each  # type: ignore[assignment]
        try:
            batch.add(
                decode_upright(
                    source,
                    name=describe_source(source),
                    max_pixels=max_pixels,
                    admit=_leave_large_images,
                )
            )
        except ImageError as error:
            errors.append((place, error.what, error.where, error.fix))
        except (_LargeImageError, MemoryError):
            left.append(place)
    write_request(answers, json.dumps({"errors": errors, "left": left}).encode())
    write_request(answers, batch.finish().tobytes())


def _leave_large_images(width: int, height: int) -> None:
    if width * height > SLOT_PIXELS:
        raise _LargeImageError
