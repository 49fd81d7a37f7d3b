"""The process that holds a model: it decodes images as they arrive and captions ready ones."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import NoReturn

from PIL import Image

from captune.data import ImageDecoder
from captune.errors import ImageError, PromptError
from captune.inference import BatchCaptioner, LoadedCaptioner, RunningBatch
from captune.recipe import GenerateConfig
from captune.serving.engine.batch_size import BatchSize
from captune.serving.engine.continuous import ContinuousBatch
from captune.serving.engine.decoding import count_decoders, open_server_decoder
from captune.serving.engine.messages import (
    BatchDone,
    Cancel,
    CaptionImage,
    Loaded,
    LoadFailed,
    LoadModel,
    Refused,
    Started,
)
from captune.serving.engine.pace import Pace
from captune.serving.engine.ready import ReadyImage, ReadyImages
from captune.workers import MODEL_ERRORS, Link, harmless_error, load_here, open_link, receive

_MAX_JOINED = 512
"""Maximum number of tokens, of all beams of an image, for batches that other images can join. The
places of such a batch are in use all the time, but short captions use few places of others."""

_QUOTING = ("not_an_image", "corrupt")
"""Reasons whose explanation may quote the file: its beginning, or a decoder's own words."""


def caption_jobs() -> None:
    """Load the model named in the first message, and caption until stdin closes."""
    link = open_link()
    with contextlib.suppress(EOFError, BrokenPipeError):
        load = receive(link.requests)
        assert isinstance(load, LoadModel)
        try:
            captioner = load_here(load.request)
            batches = captioner.open_batches()
            if load.warmup:
                _warm_up(captioner, batches)
        except MODEL_ERRORS as error:
            link.send(LoadFailed(harmless_error(error)))
            return
        link.send(Loaded(captioner.describe(), captioner.complete(GenerateConfig())))
        with open_server_decoder(load.max_pixels) as decoder:
            pool = ThreadPoolExecutor(count_decoders(), "captune-decode")
            _ModelLoop(
                link, batches, decoder=decoder, pool=pool, size=BatchSize(load.max_batch)
            ).run()


def _loggable(error: ImageError, content: bytes) -> str:
    """Return where an image is faulty, without quoting what a client sent."""
    return f"{len(content)} bytes" if error.what in _QUOTING else error.where


def _warm_up(captioner: LoadedCaptioner, batches: BatchCaptioner) -> None:
    grey = batches.prepare(Image.new("RGB", (64, 64), (128, 128, 128)))
    batches.caption([("warm-up", grey)], [captioner.complete(GenerateConfig())])


class _ModelLoop:
    """Reads jobs in one thread, decodes in several, and captions in the main one."""

    def __init__(
        self,
        link: Link,
        batches: BatchCaptioner,
        *,
        decoder: ImageDecoder,
        pool: Executor,
        size: BatchSize,
    ) -> None:
        self._link, self._batches, self._decoder = link, batches, decoder
        self._pool, self._size = pool, size
        self._ready, self._pace = ReadyImages(), Pace()

    def run(self) -> NoReturn:
        """Caption until the parent closes its pipe, which ends the process."""
        threading.Thread(target=self._read, name="captune-jobs", daemon=True).start()
        while True:
            batch = self._ready.take(self._size.most)
            self._link.send(Started(tuple(image.job for image in batch)))
            running = self._open(batch[0])
            if running is not None:
                flow = ContinuousBatch(
                    running, ready=self._ready, size=self._size, pace=self._pace, link=self._link
                )
                batch = flow.run(batch)
                # Its memory is free for the images that it has not captioned.
                del flow, running
            if batch:
                self._caption_together(batch)

    def _open(self, image: ReadyImage) -> RunningBatch | None:
        """Return a batch that others can join; `None`: this image starts with all of its batch."""
        (config, *others) = image.configs
        if others or image.is_alone or image.places > _MAX_JOINED:
            return None
        try:
            return self._batches.run(config)
        except MODEL_ERRORS:
            # Each image gets this error when it is captioned.
            return None

    def _caption_together(self, batch: Sequence[ReadyImage]) -> None:
        began = time.perf_counter()
        self._caption(batch)
        self._link.send(BatchDone(len(batch), time.perf_counter() - began))

    def _read(self) -> None:
        try:
            while True:
                message = receive(self._link.requests)
                if isinstance(message, CaptionImage):
                    self._ready.announce(message.job)
                    self._pool.submit(self._prepare, message)
                elif isinstance(message, Cancel):
                    self._ready.cancel(message.job)
        except (EOFError, OSError):
            # The parent has ended; nobody needs the captions.
            os._exit(0)
        finally:
            # No memory for a message, or no thread to decode it: without this thread, all jobs
            # would wait forever, and the parent starts another process.
            os._exit(1)

    def _prepare(self, job: CaptionImage) -> None:
        image = None
        try:
            if self._ready.is_wanted(job.job):
                began = time.perf_counter()
                marks: list[str] = []
                decode = self._decoder.decode
                inputs = decode(job.content, self._batches.prepare, mark=marks.append)
                seconds = time.perf_counter() - began
                image = ReadyImage(
                    job.job,
                    job.image_id,
                    inputs,
                    job.configs,
                    seconds,
                    tuple(marks),
                    job.is_alone,
                    job.is_streamed,
                )
        except ImageError as error:
            self._link.send(Refused(job.job, error.what, _loggable(error, job.content)))
        except MODEL_ERRORS as error:
            self._link.send(Refused(job.job, "model_error", f"{type(error).__name__}: {error}"))
        finally:
            self._ready.put(job.job, image)

    def _caption(self, batch: Sequence[ReadyImage]) -> bool:
        """Caption a batch; if that fails, caption its two halves.

        Returns:
            Whether every image got a caption.
        """
        error = self._try(batch)
        if error is None:
            self._size.note_success(len(batch))
            return True
        if len(batch) == 1:
            reason = "prompt" if isinstance(error, PromptError) else "model_error"
            self._link.send(Refused(batch[0].job, reason, f"{type(error).__name__}: {error}"))
            return False
        half = len(batch) // 2
        found = [self._caption(part) for part in (batch[:half], batch[half:])]
        if all(found):
            # No single image is to blame: together they do not fit in memory.
            self._size.note_failure(len(batch))
        return all(found)

    def _try(self, batch: Sequence[ReadyImage]) -> Exception | None:
        named = [(image.image_id, image.inputs) for image in batch]
        try:
            found = self._batches.caption(named, batch[0].configs)
        except MODEL_ERRORS as error:
            # Its frames hold the tensors of the batch, and the halves need the memory.
            return error.with_traceback(None)
        for image, predictions in zip(batch, found, strict=True):
            self._link.send(image.captioned(predictions))
        return None
