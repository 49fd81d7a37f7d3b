"""Prepare model inputs from images in threads, ahead of the model; unusable images are reported.

Pillow releases the interpreter lock while it decodes and resizes, and isolated decoding waits for a
child process, so threads are enough to keep the model busy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from PIL import Image

from captune.data import (
    DecodeMode,
    ImageDecoder,
    ImageMark,
    PixelSlots,
    count_threads,
    open_decoder,
    upright_rgb,
)
from captune.errors import ImageError
from captune.net import UrlImage
from captune.records import EncodedImage, Prediction

if TYPE_CHECKING:
    from captune.hardware import Hardware

AnyImage = EncodedImage | UrlImage | Image.Image
"""An encoded image, wherever it is stored, or a decoded one."""

OnFailure = Callable[[str, ImageError], None]
"""Called with each unusable image: its id and the reason."""

Inputs = TypeVar("Inputs")

_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Execution:
    """Device and precision of a captioning pass, and where its images are decoded.

    Attributes:
        hardware: Device and precision; `None`: the model's device, fp32.
        decode: `isolated`: decode encoded images in child processes with limits of memory and
            time; `inline`: in this process. Or an open decoder, which stays open. Images at URLs
            are isolated in either mode; PIL images cannot be.
        is_exact_enough: Use float32 for a side of the model whose captions the precision of
            `hardware` would change too often; see `captune.models.exact_enough`.
        kept: The model arranged for captioning, from the last pass with this object.
    """

    hardware: Hardware | None = None
    decode: DecodeMode | ImageDecoder = "isolated"
    is_exact_enough: bool = False
    kept: list[Any] = field(default_factory=list, repr=False, compare=False)


@dataclass(slots=True)
class ImageMarks:
    """Peculiarities of decoded images, which become flags of their captions.

    Attributes:
        found: Marks by image id, until they are moved to the caption.
    """

    found: dict[str, tuple[ImageMark, ...]] = field(default_factory=dict)

    def add(self, image_id: str, mark: ImageMark) -> None:
        """Add a mark to an image."""
        before = self.found.get(image_id, ())
        if mark not in before:
            self.found[image_id] = (*before, mark)

    def flag(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the captions, with the marks of their images as flags."""
        for prediction in predictions:
            marks = self.found.pop(prediction.image_id, ()) if self.found else ()
            yield replace(prediction, flags=(*prediction.flags, *marks)) if marks else prediction


def prepare_ahead(
    transform: Callable[[Image.Image], Inputs],
    images: Iterable[tuple[str, AnyImage]],
    *,
    decode: DecodeMode | ImageDecoder,
    batch_size: int,
    marks: ImageMarks | None = None,
) -> Generator[tuple[str, Inputs | ImageError]]:
    """Yield each image's id and model inputs, or its error if it is unusable, in order.

    Args:
        transform: Converts an RGB image to model inputs.
        images: Ids and images; read two batches ahead of what is yielded.
        decode: See `Execution`.
        batch_size: Images per batch.
        marks: Collects the peculiarities of images; `None`: they are dropped.
    """
    marks = ImageMarks() if marks is None else marks
    waiting: deque[tuple[str, Future[Inputs | ImageError]]] = deque()
    num_threads = count_threads()
    pool = ThreadPoolExecutor(num_threads, "captune-decode")
    with ExitStack() as opened:
        # Registered first, so shut down last: closing the decoder ends the child processes that
        # the pool's threads may wait for.
        opened.callback(pool.shutdown, wait=False, cancel_futures=True)
        reader = _open_reader(transform, decode, num_threads=num_threads, opened=opened)
        for image_id, image in images:
            mark = partial(marks.add, image_id)
            waiting.append((image_id, pool.submit(reader.read, image, mark)))
            if len(waiting) > _BATCHES_AHEAD * batch_size:
                first_id, inputs = waiting.popleft()
                yield first_id, inputs.result()
        while waiting:
            first_id, inputs = waiting.popleft()
            yield first_id, inputs.result()


@dataclass(frozen=True, slots=True)
class _Reader(Generic[Inputs]):
    """Decodes images into model inputs.

    Attributes:
        transform: Converts an RGB image to model inputs.
        decoder: Decoder of files and bytes.
        url_decoder: Decoder of images at URLs, which are untrusted.
    """

    transform: Callable[[Image.Image], Inputs]
    decoder: ImageDecoder
    url_decoder: ImageDecoder

    def read(self, image: AnyImage, mark: Callable[[ImageMark], None]) -> Inputs | ImageError:
        """Return the model inputs of one image, or the error of an unusable one."""
        try:
            if isinstance(image, Image.Image):
                return self.transform(upright_rgb(image))
            if isinstance(image, UrlImage):
                return self.url_decoder.decode(image.read(), self.transform, mark=mark)
            return self.decoder.decode(image, self.transform, mark=mark)
        except ImageError as error:
            return error


def _open_reader(
    transform: Callable[[Image.Image], Inputs],
    decode: DecodeMode | ImageDecoder,
    *,
    num_threads: int,
    opened: ExitStack,
) -> _Reader[Inputs]:
    if not isinstance(decode, str):
        return _Reader(transform, decode, decode)
    slots = PixelSlots.for_threads()
    # Starts no process before the first image that needs one.
    mode: DecodeMode = "isolated" if decode == "inline" else decode
    isolated = opened.enter_context(open_decoder(mode, num_threads=num_threads, slots=slots))
    if decode != "inline":
        return _Reader(transform, isolated, isolated)
    inline = opened.enter_context(open_decoder("inline", slots=slots))
    return _Reader(transform, inline, isolated)
