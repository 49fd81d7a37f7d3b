"""Decode images in this process or isolated in child processes, behind one interface.

`inline` is a little faster and trusts the decoders. `isolated` is for untrusted images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from PIL import Image

from captune.data.decoders.interface import ImageDecoder
from captune.data.decoders.isolated import IsolatedDecoder
from captune.data.decoders.slots import PixelSlots
from captune.data.images import (
    DEFAULT_MAX_PIXELS,
    ImageMark,
    decode_upright,
    describe_source,
    detach,
)
from captune.data.pixels import Size
from captune.errors import DataError, ImageError
from captune.records import EncodedImage

T = TypeVar("T")

DecodeMode = Literal["isolated", "inline", "lenient"]
"""`lenient`: isolated, and truncated images as far as they go."""

_MODES = get_args(DecodeMode)
_MAX_THREADS = 8


class InlineDecoder(ImageDecoder):
    """Decodes in the calling thread, within slots by pixels."""

    def __init__(
        self,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        slots: PixelSlots | None = None,
        smallest: Size | None = None,
    ) -> None:
        """Store the settings.

        Args:
            max_pixels: Maximum width times height.
            slots: Slots shared with other decoders; `None`: its own.
            smallest: Width and height down to which a JPEG may be decoded; `None`: in full. If it
                is set, images may keep their metadata.
        """
        self._smallest = smallest
        self._max_pixels = max_pixels
        self._slots = slots or PixelSlots.for_threads()

    def decode(
        self,
        source: EncodedImage,
        use: Callable[[Image.Image], T],
        *,
        mark: Callable[[ImageMark], None] | None = None,
    ) -> T:
        """See `ImageDecoder.decode`."""
        with self._slots.lease() as lease:
            image = decode_upright(
                source,
                name=describe_source(source),
                max_pixels=self._max_pixels,
                admit=lambda width, height: lease.take(width * height),
                smallest=self._smallest,
                mark=mark,
            )
            # A caller that takes a smaller image reads its pixels only; a copy takes time.
            return use(image if self._smallest is not None else detach(image))

    def close(self) -> None:
        """Do nothing."""


class LenientDecoder(ImageDecoder):
    """Decodes isolated; of a truncated image what there is, the rest grey or black."""

    def __init__(self, strict: IsolatedDecoder, lenient: IsolatedDecoder) -> None:
        """Keep two decoders: only an image that the first one calls truncated gets the second."""
        self._strict, self._lenient = strict, lenient

    def decode(
        self,
        source: EncodedImage,
        use: Callable[[Image.Image], T],
        *,
        mark: Callable[[ImageMark], None] | None = None,
    ) -> T:
        """See `InlineDecoder.decode`; the mark of a truncated image is `truncated`."""
        try:
            return self._strict.decode(source, use, mark=mark)
        except ImageError as error:
            if error.what != "truncated":
                raise
        result = self._lenient.decode(source, use, mark=mark)
        if mark is not None:
            mark("truncated")
        return result

    def start_early(self) -> None:
        """Start a child, in the background."""
        self._strict.start_early()

    def close(self) -> None:
        """End every child of both."""
        self._strict.close()
        self._lenient.close()


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How the images of a data set are decoded.

    Attributes:
        mode: `inline`, or `isolated` for untrusted images.
        max_pixels: Images with more are unreadable.
        num_threads: Decoding threads; `None`: one per core, at most 8.
    """

    mode: DecodeMode = "inline"
    max_pixels: int = DEFAULT_MAX_PIXELS
    num_threads: int | None = None


def open_decoder(
    mode: DecodeMode,
    *,
    num_threads: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    slots: PixelSlots | None = None,
    smallest: Size | None = None,
) -> ImageDecoder:
    """Return a decoder, which must be closed after use.

    Args:
        mode: `isolated`, `inline` or `lenient`.
        num_threads: Threads that will use it; at most as many children are started.
        max_pixels: Maximum width times height.
        slots: Slots shared with other decoders; `None`: its own.
        smallest: Width and height down to which a JPEG may be decoded; `None`: in full.

    Raises:
        DataError: There is no such mode.
    """
    if mode not in _MODES:
        # A script's misspelling must not choose another mode.
        raise DataError(f"decode is {mode!r}", fix=f"use {' or '.join(map(repr, _MODES))}")
    if mode == "inline":
        return InlineDecoder(max_pixels=max_pixels, slots=slots, smallest=smallest)
    slots = slots or PixelSlots.for_threads()
    strict = IsolatedDecoder(num_threads, max_pixels=max_pixels, slots=slots, smallest=smallest)
    if mode == "isolated":
        return strict
    lenient = IsolatedDecoder(
        num_threads, max_pixels=max_pixels, slots=slots, smallest=smallest, allow_truncated=True
    )
    return LenientDecoder(strict, lenient)


def count_threads() -> int:
    """Return how many threads decode ahead: one per core, at most 8."""
    return min(_MAX_THREADS, os.cpu_count() or 1)
