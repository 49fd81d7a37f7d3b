"""The process that holds a model: it decodes images as they come and captions what is ready."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from captune.data import ImageDecoder, count_threads, open_decoder
from captune.errors import ImageError
from captune.inference import BatchCaptioner, LoadedCaptioner
from captune.recipe import GenerateConfig
from captune.serving.engine.messages import (
    BatchDone,
    Cancel,
    Captioned,
    CaptionImage,
    Loaded,
    LoadFailed,
    LoadModel,
    Refused,
    Started,
)
from captune.serving.engine.ready import ReadyImage, ReadyImages
from captune.workers import MODEL_ERRORS, Link, harmless_error, load_here, open_link, receive


def caption_jobs() -> None:
    """Load the model that the first message names, and caption until stdin closes."""
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
        threads = count_threads()
        with open_decoder("isolated", num_threads=threads, max_pixels=load.max_pixels) as decoder:
            _ModelLoop(link, batches, decoder, num_threads=threads).run(load.max_batch)


def _warm_up(captioner: LoadedCaptioner, batches: BatchCaptioner) -> None:
    grey = batches.prepare(Image.new("RGB", (64, 64), (128, 128, 128)))
    batches.caption([("warm-up", grey)], [captioner.complete(GenerateConfig())])


class _ModelLoop:
    """Reads jobs in one thread, decodes in several, and captions in the main one."""

    def __init__(
        self, link: Link, batches: BatchCaptioner, decoder: ImageDecoder, *, num_threads: int
    ) -> None:
        self._link, self._batches, self._decoder = link, batches, decoder
        self._pool = ThreadPoolExecutor(num_threads, "captune-decode")
        self._ready = ReadyImages()

    def run(self, max_batch: int) -> None:
        """Caption until the parent closes its pipe."""
        threading.Thread(target=self._read, name="captune-jobs", daemon=True).start()
        while batch := self._ready.take(max_batch):
            self._link.send(Started(tuple(image.job for image in batch)))
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
            # The parent is gone; nobody needs the captions.
            os._exit(0)

    def _prepare(self, job: CaptionImage) -> None:
        image = None
        try:
            if self._ready.is_wanted(job.job):
                began = time.perf_counter()
                inputs = self._decoder.decode(job.content, self._batches.prepare)
                seconds = time.perf_counter() - began
                image = ReadyImage(job.job, job.image_id, inputs, job.configs, seconds)
        except ImageError as error:
            self._link.send(Refused(job.job, error.what, error.where))
        except MODEL_ERRORS as error:
            self._link.send(Refused(job.job, "model_error", f"{type(error).__name__}: {error}"))
        finally:
            self._ready.put(job.job, image)

    def _caption(self, batch: Sequence[ReadyImage]) -> None:
        """Caption a batch; if it fails, look for the images that do it."""
        named = [(image.image_id, image.inputs) for image in batch]
        try:
            found = self._batches.caption(named, batch[0].configs)
        except MODEL_ERRORS as error:
            if len(batch) == 1:
                reason = f"{type(error).__name__}: {error}"
                self._link.send(Refused(batch[0].job, "model_error", reason))
                return
            half = len(batch) // 2
            self._caption(batch[:half])
            self._caption(batch[half:])
            return
        for image, predictions in zip(batch, found, strict=True):
            self._link.send(Captioned(image.job, predictions, image.decode_seconds))
