"""The parent's side of a decoding process: start it, send requests, time and end it.

It shares only two pipes and a window of memory with its parent.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from PIL import Image

from captune.data.decoders.limits import Limits
from captune.data.decoders.program import child_command, open_window
from captune.data.decoders.slots import SLOT_PIXELS
from captune.data.decoders.wire import (
    BANDS,
    ERROR,
    FIRST_STRIP,
    GO_ON,
    READY,
    SIZE,
    STRIP,
    Answer,
    read_answer,
    read_error,
    read_exactly,
    rows_per_strip,
    write_all,
    write_request,
)
from captune.data.images import ImageMark, return_memory_of_large_images
from captune.data.pixels import Size
from captune.errors import DataError, ImageError
from captune.records import TarMember, ZipMember

ENVIRONMENT = {
    # Threads in one child would compete with the other children, and need memory each.
    "OMP_NUM_THREADS": "1",
    # glibc: return the memory of large images, keep that of small ones.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
"""Environment of a process that decodes."""

_FIX = "if you trust the image, use --decode inline (recipe: data.decode: inline)"
_END_SECONDS = 0.5
# Windows has neither signal.
_ENDED_BY = {
    name: -int(getattr(signal, name)) for name in ("SIGKILL", "SIGALRM") if hasattr(signal, name)
}


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """Settings that a child is started with.

    Attributes:
        max_pixels: Maximum width times height.
        window_bytes: Size of the shared memory for pixels.
        limits: Memory and time.
        smallest: Width and height down to which a JPEG may be decoded; `None`: in full.
        allow_truncated: Whether what there is of a truncated image is decoded.
    """

    max_pixels: int
    window_bytes: int
    limits: Limits
    smallest: Size | None = None
    allow_truncated: bool = False


class DecodingProcess:
    """A child process; used by one thread at a time, watched by another."""

    def __init__(self, settings: ProcessSettings) -> None:
        """Start the process and wait until it is ready.

        Raises:
            DataError: It does not start.
        """
        self._settings = settings
        self._lock = threading.Lock()
        self._deadline: float | None = None
        self._is_late = False
        self._is_in_step = True
        self._owner = os.getpid()
        descriptor, self._window = open_window("captune-pixels", settings.window_bytes)
        try:
            self._process = _start(settings, descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        self._wait_until_ready()

    @property
    def can_decode(self) -> bool:
        """Whether it can decode another image; `False` in a process forked from its owner."""
        is_ready = self._is_in_step and not self._is_late
        return is_ready and self._owner == os.getpid() and self._process.poll() is None

    def decode(
        self,
        source: str | bytes | ZipMember | TarMember,
        *,
        name: str,
        take_slots: Callable[[int], None],
        mark: Callable[[ImageMark], None] | None = None,
    ) -> Image.Image:
        """Return the upright RGB image.

        Args:
            source: An absolute path, encoded bytes, or a member of an archive.
            name: Its name in errors.
            take_slots: Called with the number of pixels of a large image, before decoding.
            mark: Called with what is unusual about the image.

        Raises:
            ImageError: The child's error, or `too_slow`, `memory`, `crash`.
        """
        # If anything fails between request and answer, a stale answer is left in the pipe.
        self._is_in_step = False
        try:
            self._set_deadline(self._settings.limits.seconds_for(SLOT_PIXELS))
            write_request(self._requests, pickle.dumps((source, name)))
            answer = self._read_answer(take_slots)
            if answer.kind == ERROR:
                error = read_error(self._answers, answer.first)
                if error.what == "memory":
                    # The child may still hold much memory, so it is replaced.
                    raise ImageError("memory", where=error.where, fix=_FIX)
                self._is_in_step = True
                raise error
            image = self._receive(answer)
        except MemoryError as error:
            raise ImageError("memory", where=f"{name}: no memory for its pixels") from error
        except (OSError, EOFError, ValueError) as error:
            raise self._explain_end(name) from error
        finally:
            self._set_deadline(None)
        self._is_in_step = True
        if mark is not None and answer.kind == FIRST_STRIP:
            mark("animated")
        return image

    def end_if_late(self) -> None:
        """Kill the process if it is past its deadline; called by the watching thread."""
        with self._lock:
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._is_late = True
                self._process.kill()

    def close(self) -> None:
        """Kill the process; does nothing in a process forked from its owner."""
        if self._owner != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            try:
                pipe.close()
            except OSError:
                # A request that it has not read is lost.
                continue

    def _wait_until_ready(self) -> None:
        watch = threading.Timer(self._settings.limits.start_seconds, self._process.kill)
        watch.daemon = True
        watch.start()
        try:
            if read_answer(self._answers).kind == READY:
                return
            reason = "its first answer is not that it is ready"
        except (OSError, EOFError):
            assert self._process.stderr is not None
            lines = self._process.stderr.read().decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "")
            reason = f"it ended with code {self._process.wait()}: {last[:200]}"
        finally:
            watch.cancel()
            assert self._process.stderr is not None
            # The child has closed its end.
            self._process.stderr.close()
        self.close()
        raise DataError(
            f"the process that decodes images does not start: {reason}",
            where=sys.executable,
            fix="if you trust the images, decode them in this process: --decode inline",
        )

    def _set_deadline(self, seconds: float | None) -> None:
        with self._lock:
            self._deadline = None if seconds is None else time.monotonic() + seconds

    def _read_answer(self, take_slots: Callable[[int], None]) -> Answer:
        answer = read_answer(self._answers)
        if answer.kind == SIZE:
            num_pixels = self._check_size(answer)
            self._set_deadline(None)
            take_slots(num_pixels)
            self._set_deadline(self._settings.limits.seconds_for(num_pixels))
            write_all(self._requests, GO_ON)
            answer = read_answer(self._answers)
        return answer

    def _check_size(self, answer: Answer) -> int:
        """Return the number of pixels; a compromised child may send any number."""
        num_pixels = answer.first * answer.second
        if not 0 < num_pixels <= self._settings.max_pixels:
            raise EOFError(f"an image of {answer.first}x{answer.second}")
        return num_pixels

    def _receive(self, answer: Answer) -> Image.Image:
        if answer.kind not in (STRIP, FIRST_STRIP):
            raise EOFError(f"an answer of kind {answer.kind!r}")
        self._check_size(answer)
        width, height = answer.first, answer.second
        rows = rows_per_strip(width, self._settings.window_bytes)
        if rows >= height:
            return self._read_strip(width, height)
        return_memory_of_large_images()
        image = Image.new("RGB", (width, height))
        for top in range(0, height, rows):
            if top:
                write_all(self._requests, GO_ON)
                if read_answer(self._answers) != answer:
                    raise EOFError("another image in the middle of one")
            image.paste(self._read_strip(width, min(rows, height - top)), (0, top))
        return image

    def _read_strip(self, width: int, height: int) -> Image.Image:
        num_bytes = BANDS * width * height
        if self._window is None:
            return Image.frombytes("RGB", (width, height), read_exactly(self._answers, num_bytes))
        with memoryview(self._window) as window, window[:num_bytes] as pixels:
            return Image.frombytes("RGB", (width, height), pixels)

    def _explain_end(self, name: str) -> ImageError:
        """Return why no image was received; end the child if it is still running."""
        with self._lock:
            is_late, self._is_late = self._is_late, True
        try:
            # Its pipes close a moment before it ends.
            code = self._process.wait(_END_SECONDS)
            had_ended = True
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
            had_ended = False
        if is_late or code == _ENDED_BY.get("SIGALRM"):
            return ImageError("too_slow", where=f"{name}: takes too long to decode", fix=_FIX)
        # The parent did not kill it, so the system did: memory ran out.
        if had_ended and code == _ENDED_BY.get("SIGKILL"):
            return ImageError("memory", where=f"{name}: its decoder was killed", fix=_FIX)
        return ImageError("crash", where=f"{name}: its decoder ended with code {code}", fix=_FIX)


def _start(settings: ProcessSettings, descriptor: int) -> subprocess.Popen[bytes]:
    given = (
        settings.max_pixels,
        settings.window_bytes,
        descriptor,
        settings.limits,
        settings.smallest,
        settings.allow_truncated,
    )
    try:
        return subprocess.Popen(
            child_command("captune.data.decoders.child:run_child", given),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **ENVIRONMENT},
            pass_fds=(descriptor,) if descriptor >= 0 else (),
        )
    except OSError as error:
        raise DataError(
            f"the process that decodes images does not start: {error.strerror or error}",
            where=sys.executable,
            fix="if you trust the images, decode them in this process: --decode inline",
        ) from error
