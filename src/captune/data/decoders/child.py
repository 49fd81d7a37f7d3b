"""The program of a decoding process: reads requests, writes pixels, ends with its parent.

It imports Pillow and little else, so that it starts in a tenth of a second and uses 25 MB.
"""

from __future__ import annotations

import mmap
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from PIL import Image, ImageFile

from captune.data.decoders.limits import (
    Limits,
    end_after,
    forbid_core_files,
    limit_memory,
)
from captune.data.decoders.program import read_settings
from captune.data.decoders.slots import SLOT_PIXELS
from captune.data.decoders.wire import (
    FIRST_STRIP,
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
from captune.data.images import ImageMark, decode_upright
from captune.data.pixels import Size
from captune.errors import ImageError
from captune.stopping import ignore_signals

_GRACE_SECONDS = 5.0
"""Extra time before the child's own alarm, which is only needed when its parent is gone."""


def serve(settings: tuple[int, int, int, Limits, Size | None, bool]) -> None:
    """Answer requests until the parent closes the pipe.

    Args:
        settings: `max_pixels`, size of the window in bytes, its file descriptor (-1: pixels go
            through the pipe), limits, width and height down to which a JPEG may be decoded,
            whether to decode what there is of a truncated image.
    """
    max_pixels, window_bytes, descriptor, limits, smallest, allow_truncated = settings
    ImageFile.LOAD_TRUNCATED_IMAGES = allow_truncated
    ignore_signals()
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
        marks: list[ImageMark] = []
        try:
            image = decode_upright(
                source,
                name=name,
                max_pixels=max_pixels,
                admit=admit,
                smallest=smallest,
                mark=marks.append,
            )
        except ImageError as error:
            write_error(answers, error)
        except MemoryError:
            write_error(
                answers, ImageError("memory", where=f"{name}: not enough memory to decode it")
            )
        else:
            kind = FIRST_STRIP if marks else STRIP
            _send(image, (requests, answers), kind=kind, window=window, window_bytes=window_bytes)
            is_large = image.width * image.height > SLOT_PIXELS
            del image
            if is_large:
                limit_memory(small_bytes)
        finally:
            end_after(0.0)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipes for requests and answers; redirect what libraries print to nowhere."""
    # Buffered: a request and its length need one read.
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    return requests, answers


def _gate(requests: IO[bytes], answers: IO[bytes], limits: Limits) -> Callable[[int, int], None]:
    """Return the function that is called with the size in a header, before decoding."""

    def admit(width: int, height: int) -> None:
        num_pixels = width * height
        if num_pixels <= SLOT_PIXELS:
            # Most images: the limits set for reading the header already fit these.
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
    kind: bytes,
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
        write_answer(answers, Answer(kind, width, height))
        if window is None:
            write_all(answers, content)


def run_child() -> None:
    """Run with the settings that the parent passed as a hexadecimal pickle."""
    serve(cast("tuple[int, int, int, Limits, Size | None, bool]", read_settings()))
