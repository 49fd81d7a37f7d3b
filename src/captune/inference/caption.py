"""Images in, captions out, batch by batch: decoding ahead in threads, broken images told apart.

Pillow lets go of the interpreter's lock while it decodes and resizes, so threads keep the model
fed without copying pixels between processes.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from PIL import Image, ImageOps

from captune.data import decode_image, to_rgb
from captune.errors import ImageError, ModelError
from captune.hardware import (
    Hardware,
    choose_hardware,
    free_cached_memory,
    is_out_of_memory,
)
from captune.inference.decoding.decode import eval_mode, generate
from captune.models import Captioner
from captune.net import UrlImage
from captune.recipe import GenerateConfig
from captune.records import ImageSource, Prediction

AnyImage = ImageSource | UrlImage | Image.Image
"""An encoded image wherever it lies, or one that is decoded already."""

OnFailure = Callable[[str, ImageError], None]
"""Told of an image that cannot be used: its id and why."""

_MAX_THREADS = 8
_BATCHES_AHEAD = 2


def caption_images(
    captioner: Captioner,
    images: Iterable[tuple[str, AnyImage]],
    *,
    config: GenerateConfig,
    batch_size: int = 16,
    hardware: Hardware | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Prediction]:
    """Captions of images of any number, one each, in their order.

    Holds the pixels of a few batches at most. When a batch does not fit the device's memory, it is
    halved with a warning, and so are the ones after it.

    Args:
        captioner: The model, on its device.
        images: Ids and images; read a little ahead of what is yielded.
        config: How to decode.
        batch_size: Images at once, at least 1.
        hardware: Precision to compute in; `None`: fp32.
        on_failure: Told of each broken image, which is then left out; `None`: its error is raised.

    Raises:
        ImageError: An image cannot be used and `on_failure` is `None`.
        ModelError: The prompt leaves no room for a caption.
    """
    hardware = hardware or choose_hardware(str(captioner.device), "fp32")
    batch = _Batch(captioner, config, hardware, size=max(1, batch_size))
    for image_id, pixels in _prepare_ahead(captioner, images, batch_size=batch.size):
        if isinstance(pixels, ImageError):
            if on_failure is None:
                raise pixels
            on_failure(image_id, pixels)
            continue
        batch.waiting.append((image_id, pixels))
        if batch.is_full:
            yield from batch.caption()
    yield from batch.caption()


def _prepare_ahead(
    captioner: Captioner, images: Iterable[tuple[str, AnyImage]], *, batch_size: int
) -> Iterator[tuple[str, torch.Tensor | ImageError]]:
    """Ids and pixels (C, H, W), in order, prepared while the model works."""
    waiting: deque[tuple[str, Future[torch.Tensor | ImageError]]] = deque()
    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "captune-decode")
    try:
        for image_id, image in images:
            waiting.append((image_id, pool.submit(_prepare, captioner, image)))
            if len(waiting) > _BATCHES_AHEAD * batch_size:
                first_id, pixels = waiting.popleft()
                yield first_id, pixels.result()
        while waiting:
            first_id, pixels = waiting.popleft()
            yield first_id, pixels.result()
    finally:
        # A caller that stops early (Ctrl-C) must not wait for images that no one wants.
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare(captioner: Captioner, image: AnyImage) -> torch.Tensor | ImageError:
    try:
        if isinstance(image, UrlImage):
            image = image.read()
        decoded = upright_rgb(image) if isinstance(image, Image.Image) else decode_image(image)
    except ImageError as error:
        return error
    return captioner.pixel_values([decoded])[0]


def upright_rgb(image: Image.Image) -> Image.Image:
    """RGB and turned as its EXIF says, like the same image read from a file.

    Raises:
        ImageError: Its file is broken, which shows when its pixels are wanted.
    """
    try:
        return to_rgb(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError) as error:
        # `Image.open` reads the header only: a broken file shows when its pixels are wanted.
        raise ImageError("corrupt", where=f"a PIL image: {error}") from error


@dataclass(slots=True)
class _Batch:
    """Images that wait for the model.

    Attributes:
        captioner: The model.
        config: How to decode.
        hardware: Device and precision.
        size: Images at once; halved when they do not fit.
        waiting: Ids and pixels (C, H, W).
    """

    captioner: Captioner
    config: GenerateConfig
    hardware: Hardware
    size: int
    waiting: list[tuple[str, torch.Tensor]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.waiting) >= self.size

    def caption(self) -> list[Prediction]:
        """Captions of all that waits, in as few passes as fit."""
        predictions: list[Prediction] = []
        while self.waiting:
            now = self.waiting[: self.size]
            try:
                predictions += _caption(self.captioner, now, self.config, hardware=self.hardware)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
                continue
            del self.waiting[: len(now)]
        return predictions

    def _halve(self, error: Exception) -> None:
        free_cached_memory(self.hardware.device)
        tried = min(self.size, len(self.waiting))
        if tried == 1:
            raise ModelError(
                f"one image does not fit the memory of {self.hardware.device}",
                fix="lower num_beams or max_new_tokens, or use another device",
            ) from error
        self.size = tried // 2
        message = f"{tried} images do not fit the memory of {self.hardware.device} at once"
        warnings.warn(f"{message}: going on with {self.size}", stacklevel=2)


@torch.inference_mode()
def _caption(
    captioner: Captioner,
    batch: Sequence[tuple[str, torch.Tensor]],
    config: GenerateConfig,
    *,
    hardware: Hardware,
) -> list[Prediction]:
    image_ids = [image_id for image_id, _ in batch]
    pixels = torch.stack([pixels for _, pixels in batch]).to(hardware.device)
    # One autocast for both: it keeps the weights it has cast until it ends.
    with hardware.autocast(), eval_mode(captioner):
        return generate(captioner, captioner.encode(pixels), image_ids=image_ids, config=config)
