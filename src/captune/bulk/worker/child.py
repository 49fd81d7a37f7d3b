"""The process that holds the model: it captions the images that come through its stdin."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator

from captune.bulk.worker.wire import (
    USUAL_BATCH,
    Broken,
    Complete,
    Done,
    Failed,
    Images,
    Message,
    Ready,
    StartStream,
    Want,
)
from captune.inference import AnyImage, LoadedCaptioner, RunRequest
from captune.workers import MODEL_ERRORS, Link, harmless_error, load_here, open_link, receive


def run_model() -> None:
    """Load the model that the first message names, and caption until stdin closes."""
    link = open_link()
    with contextlib.suppress(EOFError, BrokenPipeError):
        request = receive(link.requests)
        assert isinstance(request, RunRequest)
        try:
            captioner = load_here(request)
        except MODEL_ERRORS as error:
            link.send(Broken(harmless_error(error)))
            return
        link.send(Ready(captioner.describe()))
        while True:
            _answer(link, captioner, receive(link.requests))


def _answer(link: Link, captioner: LoadedCaptioner, request: Message) -> None:
    try:
        if isinstance(request, Complete):
            link.send(captioner.complete(request.decoding))
        elif isinstance(request, StartStream):
            _caption(link, captioner, request)
    except MODEL_ERRORS as error:
        if isinstance(error, BrokenPipeError):
            raise
        link.send(Broken(harmless_error(error)))


def _caption(link: Link, captioner: LoadedCaptioner, start: StartStream) -> None:
    feed = _Feed(link, size=2 * (start.batch_size or USUAL_BATCH))
    predictions = captioner.stream(
        feed.images(),
        config=start.config,
        batch_size=start.batch_size,
        decode=start.decode,
        on_failure=lambda name, error: link.send(Failed(name, error)),
    )
    with contextlib.closing(predictions):
        for prediction in predictions:
            link.send(prediction)
    link.send(Done())


class _Feed:
    """Requests images ahead of the model, in a thread, so that the model rarely waits for one."""

    def __init__(self, link: Link, *, size: int) -> None:
        self._link = link
        self._ready: queue.Queue[tuple[str, AnyImage] | None] = queue.Queue(size)
        threading.Thread(target=self._read, name="captune-feed", daemon=True).start()

    def images(self) -> Iterator[tuple[str, AnyImage]]:
        """Yield the images."""
        while (one := self._ready.get()) is not None:
            yield one

    def _read(self) -> None:
        is_complete = False
        try:
            while not is_complete:
                self._link.send(Want())
                answer = receive(self._link.requests)
                images = answer.images if isinstance(answer, Images) else ()
                for one in images:
                    self._ready.put(one)
                is_complete = not images
        except (EOFError, OSError):
            # The parent is gone, and the captions are no longer needed.
            os._exit(0)
        finally:
            if not is_complete:
                # No memory for a message: the model would wait forever for the next image.
                os._exit(1)
        self._ready.put(None)
