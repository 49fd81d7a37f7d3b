"""What every decoder of images offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from PIL import Image

from captune.data.images import ImageMark
from captune.records import EncodedImage

T = TypeVar("T")


class ImageDecoder(ABC):
    """Decodes images from any thread until `close`, or the end of a `with` block."""

    @abstractmethod
    def decode(
        self,
        source: EncodedImage,
        use: Callable[[Image.Image], T],
        *,
        mark: Callable[[ImageMark], None] | None = None,
    ) -> T:
        """Decode an image to upright RGB and return the result of `use`.

        Args:
            source: A file, encoded bytes, or a member of a zip or a tar.
            use: Makes the image small; its slots are held until it returns.
            mark: Called with what is unusual about the image.

        Raises:
            ImageError: See `decode_image`; if isolated, also `too_slow`, `memory`, `crash`.
            DataError: No child process can be started, or the decoder is closed.
        """

    def start_early(self) -> None:  # noqa: B027 - not every decoder starts something
        """Start in the background what the first image needs, so that it does not wait for it."""

    @abstractmethod
    def close(self) -> None:
        """End all processes; nothing can be decoded afterwards."""

    def __enter__(self) -> Self:
        """Return the decoder; child processes start later."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
