"""The program of a process that decodes: reads requests, writes pixels, ends with its parent.

It imports Pillow and little else, so that it starts in a tenth of a second and takes 25 MB.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from PIL import Image

from captune.data.decoders.limits import (
    Limits,
    end_after,
    forbid_core_files,
    limit_memory,
)
from captune.data.decoders.slots import SLOT_PIXELS
from captune.data.decoders.wire import (
    GO_ON,
    READY,
    SIZE,
    STRIP,
    Answer,
    read_exactly,
    read_request,
    rows_per_strip,
    write_all,
    write_answer,
    write_error,
)
from captune.data.images import decode_upright
from captune.errors import ImageError

_GRACE_SECONDS = 5.0
"""The parent knows better why it ends a child; this is for a parent that is gone."""


def serve(settings: tuple[int, int, int, Limits]) -> None:
    """Answer requests until the parent closes the pipe.

    Args:
        settings: `max_pixels`, size of the window in bytes, its file descriptor (-1: pixels go
            through the pipe), limits.
    """
    max_pixels, window_bytes, descriptor, limits = settings
    # Ctrl-C goes to every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    forbid_core_files()
    requests, answers = _take_pipes()
    window = None if descriptor < 0 else mmap.mmap(descriptor, window_bytes)
    Image.init()
    admit = _gate(requests, answers, limits)
    small_bytes, small_seconds = limits.bytes_for(SLOT_PIXELS), limits.seconds_for(SLOT_PIXELS)
    limit_memory(small_bytes)
    write_answer(answers, Answer(READY))
    while True:
        try:
            given, name = pickle.loads(read_request(requests))
        except EOFError:
            return
        source = Path(given) if isinstance(given, str) else given
        end_after(small_seconds + _GRACE_SECONDS)
        try:
            image = decode_upright(source, name=name, max_pixels=max_pixels, admit=admit)
        except ImageError as error:
            write_error(answers, error)
        except MemoryError:
            write_error(
                answers, ImageError("memory", where=f"{name}: not enough memory to decode it")
            )
        else:
            _send(image, (requests, answers), window=window, window_bytes=window_bytes)
            is_large = image.width * image.height > SLOT_PIXELS
            del image
            if is_large:
                limit_memory(small_bytes)
        finally:
            end_after(0.0)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the two pipes for requests and answers: what a library prints must not mix with them."""
    # Buffered: a request and its length come by one read.
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    return requests, answers


def _gate(requests: IO[bytes], answers: IO[bytes], limits: Limits) -> Callable[[int, int], None]:
    """What is called with the size that a header names, before its pixels are decoded."""

    def admit(width: int, height: int) -> None:
        num_pixels = width * height
        if num_pixels <= SLOT_PIXELS:
            # Most images: the limits of a header are made for these, which costs them nothing.
            return
        end_after(0.0)
        write_answer(answers, Answer(SIZE, width, height))
        read_exactly(requests, len(GO_ON))
        limit_memory(limits.bytes_for(num_pixels))
        end_after(limits.seconds_for(num_pixels) + _GRACE_SECONDS)

    return admit


def _send(
    image: Image.Image,
    pipes: tuple[IO[bytes], IO[bytes]],
    *,
    window: mmap.mmap | None,
    window_bytes: int,
) -> None:
    """Write the pixels in strips of rows, through the window or the pipe."""
    requests, answers = pipes
    width, height = image.size
    rows = rows_per_strip(width, window_bytes)
    for top in range(0, height, rows):
        if top:
            read_exactly(requests, len(GO_ON))
        is_whole = rows >= height
        strip = image if is_whole else image.crop((0, top, width, min(top + rows, height)))
        content = strip.tobytes()
        if window is not None:
            window[: len(content)] = content
        write_answer(answers, Answer(STRIP, width, height))
        if window is None:
            write_all(answers, content)


def run_child() -> None:
    """Run with the settings that the parent gave as hexadecimal pickle."""
    serve(pickle.loads(bytes.fromhex(sys.argv[1])))
