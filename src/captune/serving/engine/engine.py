"""A served model: the queue in front of its processes, and the outcome of each job."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from captune.inference import DecodingOptions, decoding_config
from captune.recipe import GenerateConfig, fill_decoding
from captune.records import Prediction
from captune.serving.engine.jobs import ImageJob, Stage
from captune.serving.engine.messages import BatchDone, Captioned, Loaded, LoadModel, Refused
from captune.serving.engine.suspects import MAX_ENDS, Suspects
from captune.serving.engine.worker import Worker
from captune.serving.errors import ApiError, image_error
from captune.serving.settings import ServedModel, ServerSettings
from captune.serving.watch.logs import log_event
from captune.serving.watch.metrics import ServerMetrics

# Batches that a process holds: one in the model, and the next ones being decoded.
_BATCHES_AHEAD = 3
_MAX_TRIES = 3
_SECONDS_AFTER_DEADLINE = 5.0
_FIRST_GUESS = 0.5


@dataclass(slots=True)
class Room:
    """Places in a queue, reserved for images that are being downloaded or about to be queued.

    Attributes:
        num_images: Number of reserved places.
    """

    num_images: int


@dataclass(frozen=True, slots=True)
class Ask:
    """An encoded image and its decoding settings.

    Attributes:
        image_id: Id that seeds sampling.
        content: The encoded image.
        configs: Decoding settings; one caption per entry.
        on_words: See `ImageJob.on_words`.
    """

    image_id: str
    content: bytes
    configs: tuple[GenerateConfig, ...]
    on_words: Callable[[str], None] | None = None


class Engine:
    """One served model; call all methods in the event loop's thread."""

    def __init__(
        self, model: ServedModel, settings: ServerSettings, metrics: ServerMetrics
    ) -> None:
        """Keep the settings; `start` starts the processes."""
        self.model, self._settings, self._metrics = model, settings, metrics
        load = LoadModel(model.request, settings.max_batch, settings.limits.pixels, settings.warmup)
        # Nobody waits for a batch that takes longer.
        seconds = settings.deadline + _SECONDS_AFTER_DEADLINE
        self._workers = [
            Worker(load, device, self, batch_seconds=seconds) for device in model.devices
        ]
        self._waiting: deque[ImageJob] = deque()
        self._suspects = Suspects()
        self._num_reserved = 0
        self._loaded: Loaded | None = None
        self._seconds_per_image = _FIRST_GUESS
        self.load_error: Exception | None = None
        self.is_draining = False
        metrics.watch_depth(model.name, lambda: self.depth)

    def start(self) -> None:
        """Start the processes, which load the model in the background."""
        for worker in self._workers:
            worker.start()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()

    @property
    def is_ready(self) -> bool:
        """Whether a process has loaded the model."""
        return any(worker.is_ready for worker in self._workers)

    @property
    def has_loaded(self) -> bool:
        """Whether all processes have loaded the model, some time since `start`."""
        return all(worker.has_loaded for worker in self._workers)

    @property
    def hardware(self) -> str:
        """Device that runs the model; empty while it loads for the first time."""
        return "" if self._loaded is None else self._loaded.hardware

    @property
    def defaults(self) -> dict[str, Any]:
        """Default decoding settings of the model; empty while it loads for the first time."""
        return {} if self._loaded is None else self._loaded.defaults.model_dump()

    @property
    def process_ids(self) -> list[int]:
        """Process ids of the running processes."""
        return [worker.process_id for worker in self._workers if worker.process_id is not None]

    @property
    def depth(self) -> int:
        """Number of images that the model has not started, including reserved places."""
        sent = sum(worker.num_unstarted for worker in self._workers)
        return self._num_reserved + len(self._waiting) + sent

    def complete(self, options: DecodingOptions) -> GenerateConfig:
        """Return a request's decoding settings, with the model's defaults for the others.

        Raises:
            ApiError: The model has not been loaded yet.
            RecipeError: A setting does not exist or has an invalid value.
        """
        if self._loaded is None:
            raise self._not_ready()
        return fill_decoding(decoding_config(options), self._loaded.defaults.model_dump())

    @contextmanager
    def reserve(self, num_images: int) -> Iterator[Room]:
        """Reserve places for images until they are passed to `caption` or the block ends.

        Without this, requests that arrive together would each see the queue without the others.

        Raises:
            ApiError: See `check_room`.
        """
        self.check_room(num_images)
        room = Room(num_images)
        self._num_reserved += num_images
        try:
            yield room
        finally:
            self._release(room)

    def _release(self, room: Room) -> None:
        self._num_reserved -= room.num_images
        room.num_images = 0

    def check_room(self, num_images: int) -> None:
        """Check that the queue has room for images of a request that was let in.

        The server may be shutting down since then: it answers what it has let in.

        Raises:
            ApiError: 503: no process has loaded the model; 429: too many images are waiting; 413:
                not even the empty queue has room.
        """
        most = self._settings.max_queue
        if not self.is_ready:
            raise self._not_ready()
        if num_images > most:
            raise ApiError(413, "too_many_images", f"a request may have at most {most} images")
        if self.depth + num_images > most:
            raise self.refusal()

    @property
    def is_accepting(self) -> bool:
        """Whether the model can caption, and the server is not shutting down."""
        return self.is_ready and not self.is_draining

    @property
    def num_free(self) -> int:
        """Number of images that the queue has room for; none while the model cannot caption."""
        return max(0, self._settings.max_queue - self.depth) if self.is_accepting else 0

    def refusal(self) -> ApiError:
        """Return the error for a request that finds no room: 429, or 503 without a model."""
        if not self.is_accepting:
            return self._not_ready()
        seconds = math.ceil(self.depth * self._seconds_per_image)
        return ApiError(
            429,
            "queue_full",
            f"the queue of {self.model.name} is full: it holds {self._settings.max_queue} images",
            retry_after=min(60, max(1, seconds)),
        )

    async def caption(
        self, asks: Sequence[Ask], room: Room
    ) -> list[tuple[Prediction, ...] | ApiError]:
        """Return the captions of each image, or its error, in order.

        When the caller is cancelled, its images are dropped, from the model too if it can.

        Args:
            asks: The images.
            room: Their reserved places, which are released.
        """
        self._release(room)
        loop = asyncio.get_running_loop()
        jobs = [
            ImageJob(a.image_id, a.content, a.configs, loop.create_future(), on_words=a.on_words)
            for a in asks
        ]
        self._waiting.extend(job for job in jobs if self._is_harmless(job))
        self._feed()
        try:
            return await asyncio.gather(*(job.outcome for job in jobs))
        finally:
            self._drop([job for job in jobs if not job.outcome.done() or job.outcome.cancelled()])

    def _is_harmless(self, job: ImageJob) -> bool:
        """Return whether an image may go to the model; answer it if it has ended processes."""
        num_ends = self._suspects.count_ends(job.content)
        job.is_alone = num_ends > 0
        if num_ends < MAX_ENDS:
            return True
        job.settle(image_error("worker_crash"))
        return False

    def _drop(self, jobs: Sequence[ImageJob]) -> None:
        for job in jobs:
            if job.stage is Stage.WAITING and job in self._waiting:
                self._waiting.remove(job)
            for worker in self._workers:
                worker.cancel(job)
        self._feed()

    def _feed(self) -> None:
        """Give waiting jobs to the processes that have the fewest jobs."""
        window = _BATCHES_AHEAD * self._settings.max_batch
        while self._waiting:
            ready = [w for w in self._workers if w.is_ready and w.num_jobs < window]
            if not ready:
                break
            job = self._waiting.popleft()
            # Other requests may have sent the same image before it ended a process.
            if self._is_harmless(job):
                min(ready, key=lambda worker: worker.num_jobs).caption(job)

    def _not_ready(self) -> ApiError:
        what = "is being loaded" if self._loaded is None else "is being started again"
        if self.is_draining:
            what = "is being shut down"
        return ApiError(503, "not_ready", f"{self.model.name} {what}", retry_after=2)

    # Called by the workers.

    def on_loaded(self, loaded: Loaded) -> None:
        """Record that the model is ready, and send it waiting jobs."""
        self._loaded = loaded
        log_event("model_ready", model=self.model.name, hardware=loaded.hardware)
        self._feed()

    def on_load_failed(self, error: Exception) -> None:
        """Record that the model cannot be loaded."""
        self.load_error = error
        log_event("model_failed", model=self.model.name, error=str(error))

    def on_started(self, jobs: list[ImageJob]) -> None:
        """Record that a batch goes to the model."""
        now = time.monotonic()
        self._metrics.observe_batch(self.model.name, [now - job.began for job in jobs])

    def on_words(self, job: ImageJob, text: str) -> None:
        """Pass on the beginning of a caption if the request is still waiting."""
        if job.on_words is not None and not job.outcome.done():
            job.on_words(text)

    def on_settled(self, job: ImageJob, answer: Captioned | Refused) -> None:
        """Give a job its result."""
        if isinstance(answer, Captioned):
            self._metrics.observe_decoding(answer.decode_seconds)
            if job.is_alone:
                self._suspects.clear(job.content)
            job.settle(answer.predictions)
        else:
            log_event(
                "image_failed", model=self.model.name, reason=answer.reason, detail=answer.detail
            )
            job.settle(image_error(answer.reason))
        self._feed()

    def on_dropped(self) -> None:
        """Send a waiting job in place of one that was no longer wanted."""
        self._feed()

    def on_batch(self, done: BatchDone) -> None:
        """Record how long a batch took."""
        self._metrics.observe_model_time(self.model.name, done.seconds)
        taken = done.seconds / done.size / len(self._workers)
        self._seconds_per_image += 0.2 * (taken - self._seconds_per_image)

    def on_ended(self, jobs: list[ImageJob]) -> None:
        """Queue the jobs of a process that ended again; those that had started fail."""
        self._metrics.count_restart(self.model.name)
        log_event("worker_ended", model=self.model.name, jobs=len(jobs))
        started = {job.content for job in jobs if job.stage is Stage.STARTED}
        num_ends = {content: self._suspects.note_end(content) for content in started}
        for job in reversed(jobs):
            job.tries += 1
            if job.stage is Stage.STARTED:
                is_to_blame = num_ends[job.content] >= MAX_ENDS
                job.settle(image_error("worker_crash" if is_to_blame else "worker_lost"))
            elif job.tries >= _MAX_TRIES:
                job.settle(image_error("worker_lost"))
            else:
                job.stage = Stage.WAITING
                self._waiting.appendleft(job)
        self._feed()

    def on_warning(self, text: str) -> None:
        """Log a warning of a process."""
        log_event("warning", model=self.model.name, text=text)

    def on_printed(self, line: str) -> None:
        """Log a line that a library printed in a process."""
        log_event("printed", model=self.model.name, text=line)
