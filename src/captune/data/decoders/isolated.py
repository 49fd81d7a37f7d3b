"""Decoding of untrusted images in child processes, where a failure affects one image.

An image decoder is a large program that reads untrusted bytes. One file can make it allocate
gigabytes, run for minutes or crash. In a child process with limits of memory and time this harms
nothing else: the child is replaced, the image is listed, and the run continues.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from PIL import Image

from captune.data.decoders.interface import ImageDecoder
from captune.data.decoders.limits import Limits
from captune.data.decoders.process import DecodingProcess, ProcessSettings
from captune.data.decoders.slots import PixelSlots
from captune.data.decoders.wire import BANDS
from captune.data.images import DEFAULT_MAX_PIXELS, MAX_ASPECT, ImageMark, describe_source
from captune.data.pixels import Size
from captune.errors import DataError
from captune.records import EncodedImage

T = TypeVar("T")

_WINDOW_BYTES = 4 << 20
_WATCH_SECONDS = 0.1


class IsolatedDecoder(ImageDecoder):
    """A few long-lived child processes that decode; safe to use from many threads.

    A child is started when it is first needed. Use the decoder in a `with` block, or call `close`:
    no child outlives it. Children also end when the decoder is garbage-collected, and when their
    parent is gone.
    """

    def __init__(
        self,
        num_processes: int = 1,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        slots: PixelSlots | None = None,
        limits: Limits | None = None,
        smallest: Size | None = None,
        allow_truncated: bool = False,
    ) -> None:
        """Store the settings; children start later.

        Args:
            num_processes: Number of children, at least one; use at least as many threads.
            max_pixels: Maximum width times height.
            slots: Slots shared with other decoders; `None`: its own.
            limits: Memory and time per image; `None`: the defaults.
            smallest: Width and height down to which a JPEG may be decoded; `None`: in full.
            allow_truncated: Whether what there is of a truncated image is decoded.
        """
        # One row of the widest image that MAX_ASPECT allows must fit into the window.
        widest = math.isqrt(MAX_ASPECT * max_pixels) + 1
        window_bytes = max(_WINDOW_BYTES, BANDS * widest)
        self._settings = ProcessSettings(
            max_pixels, window_bytes, limits or Limits(), smallest, allow_truncated
        )
        self._slots = slots or PixelSlots.for_threads()
        self._crew = _Crew(num_processes)
        self._finalizer = weakref.finalize(self, self._crew.close)

    def decode(
        self,
        source: EncodedImage,
        use: Callable[[Image.Image], T],
        *,
        mark: Callable[[ImageMark], None] | None = None,
    ) -> T:
        """See `ImageDecoder.decode`."""
        name = describe_source(source)
        # The current folder of a child is the one it was started in. A path is sent as text, which
        # pickles ten times as fast.
        given = os.path.abspath(source) if isinstance(source, os.PathLike) else source  # noqa: PTH100
        with self._slots.lease() as lease:
            lease.take(0)
            with self._crew.borrow(self._settings) as process:
                image = process.decode(given, name=name, take_slots=lease.take, mark=mark)
            return use(image)

    def start_early(self) -> None:
        """Start a child, in the background."""
        # Daemonic: the process may end before the child is ready. An error shows with an image.
        crew, settings = self._crew, self._settings
        threading.Thread(target=crew.start, args=(settings,), daemon=True).start()

    def close(self) -> None:
        """End every child, even while it decodes; may be called twice."""
        self._finalizer()


class _Crew:
    """The children; without a reference to the decoder, so that it can be garbage-collected."""

    def __init__(self, num_processes: int) -> None:
        self._lock = threading.Lock()
        self._members: set[DecodingProcess] = set()
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None
        # Last in, first out: when one child is enough, only one is started.
        self._idle: queue.LifoQueue[DecodingProcess | None] = queue.LifoQueue()
        for _ in range(max(1, num_processes)):
            self._idle.put(None)

    @contextmanager
    def borrow(self, settings: ProcessSettings) -> Iterator[DecodingProcess]:
        """Yield an idle child for one image, waiting for one if necessary."""
        process = self._idle.get()
        try:
            process = self._renew(process, settings)
            yield process
        finally:
            self._idle.put(process)

    def start(self, settings: ProcessSettings) -> None:
        """Start a child for later."""
        with contextlib.suppress(DataError), self.borrow(settings):
            pass

    def _renew(self, process: DecodingProcess | None, settings: ProcessSettings) -> DecodingProcess:
        """Return the child if it can decode another image, else a new one in its place."""
        if process is not None and process.can_decode:
            return process
        self._require_open()
        if process is not None:
            with self._lock:
                self._members.discard(process)
            process.close()
        new = DecodingProcess(settings)
        with self._lock:
            self._members.add(new)
            if self._watch is None or not self._watch.is_alive():
                arguments = (self._members, self._lock, self._closed)
                self._watch = threading.Thread(
                    target=_watch, args=arguments, name="captune-watch", daemon=True
                )
                self._watch.start()
        if self._closed.is_set():
            # Closed while this one was starting: nothing else would end it.
            new.close()
        self._require_open()
        return new

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise DataError("the decoder is closed", fix="decode inside the block that opened it")

    def close(self) -> None:
        """Kill every child."""
        self._closed.set()
        with self._lock:
            members = tuple(self._members)
            self._members.clear()
        for process in members:
            process.close()


def _watch(members: set[DecodingProcess], lock: threading.Lock, closed: threading.Event) -> None:
    while not closed.wait(_WATCH_SECONDS):
        with lock:
            running = tuple(members)
        for process in running:
            process.end_if_late()
