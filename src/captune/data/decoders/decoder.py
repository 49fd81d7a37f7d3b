"""How images are decoded: in this process, or isolated in children; one interface for both.

`inline` is a little faster and trusts the decoders. `isolated` is for images from strangers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from PIL import Image

from captune.data.decoders.isolated import IsolatedDecoder
from captune.data.decoders.slots import PixelSlots
from captune.data.images import DEFAULT_MAX_PIXELS, decode_upright, describe_source, detach
from captune.records import ImageSource

T = TypeVar("T")

DecodeMode = Literal["isolated", "inline"]

_MAX_THREADS = 8


class ImageDecoder(Protocol):
    """Decodes images from any thread; ended by `close` or a `with` block."""

    def decode(self, source: ImageSource, use: Callable[[Image.Image], T]) -> T:
        """Decode an image to upright RGB and return what `use` makes of it."""

    def close(self) -> None:
        """End what was started; nothing can be decoded afterwards."""

    def __enter__(self) -> Self:
        """Return the decoder."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""


class InlineDecoder:
    """Decodes in the thread that asks, within slots by pixels."""

    def __init__(
        self, *, max_pixels: int = DEFAULT_MAX_PIXELS, slots: PixelSlots | None = None
    ) -> None:
        """Hold nothing.

        Args:
            max_pixels: Width times height allowed.
            slots: Shared with whoever decodes beside this; `None`: its own.
        """
        self._max_pixels = max_pixels
        self._slots = slots or PixelSlots.for_threads()

    def __enter__(self) -> Self:
        """Return the decoder."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """There is nothing to end."""

    def decode(self, source: ImageSource, use: Callable[[Image.Image], T]) -> T:
        """Decode an image to upright RGB and return what `use` makes of it.

        Args:
            source: A file, encoded bytes, or a member of a zip or a tar.
            use: Makes the image small; its slots are held until then.

        Raises:
            ImageError: As `decode_image` raises.
        """
        with self._slots.lease() as lease:
            image = decode_upright(
                source,
                name=describe_source(source),
                max_pixels=self._max_pixels,
                admit=lambda width, height: lease.take(width * height),
            )
            return use(detach(image))

    def close(self) -> None:
        """There is nothing to end."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How the images of a data set are decoded.

    Attributes:
        mode: `inline`, or `isolated` for images from strangers.
        max_pixels: Images with more are unreadable.
        num_threads: Threads that decode; `None`: one per core, at most 8.
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
) -> ImageDecoder:
    """Return a decoder to be closed after use.

    Args:
        mode: `isolated` or `inline`.
        num_threads: Threads that will decode with it; as many children are started at most.
        max_pixels: Width times height allowed.
        slots: Shared with whoever decodes beside this; `None`: its own.
    """
    if mode == "inline":
        return InlineDecoder(max_pixels=max_pixels, slots=slots)
    return IsolatedDecoder(num_threads, max_pixels=max_pixels, slots=slots)


def count_threads() -> int:
    """Return how many threads decode ahead: one per core, at most 8."""
    return min(_MAX_THREADS, os.cpu_count() or 1)
