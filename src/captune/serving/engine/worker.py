"""One model process as an engine sees it: its jobs, its end and its restart."""

from __future__ import annotations

import asyncio
import queue
import threading
from dataclasses import replace
from typing import Any, Protocol

from captune.errors import ModelError
from captune.inference import RunRequest
from captune.serving.engine.jobs import ImageJob, Stage
from captune.serving.engine.messages import (
    BatchDone,
    Cancel,
    Captioned,
    CaptionImage,
    Dropped,
    Loaded,
    LoadFailed,
    LoadModel,
    Printed,
    Refused,
    Started,
    StillRunning,
    WordsSoFar,
)
from captune.workers import ModelProcess, Warned

_ENTRY = "captune.serving.engine.child:caption_jobs"
_MAX_PAUSE = 30.0
_MAX_FAILED_LOADS = 3
_SECONDS_TO_END = 10.0


class WorkerEvents(Protocol):
    """Callbacks of an engine for events in its processes."""

    def on_loaded(self, loaded: Loaded) -> None:
        """Record that the model is ready."""

    def on_load_failed(self, error: Exception) -> None:
        """Record that the model cannot be loaded."""

    def on_words(self, job: ImageJob, text: str) -> None:
        """Pass on the beginning of a caption."""

    def on_settled(self, job: ImageJob, answer: Captioned | Refused) -> None:
        """Give a job its result."""

    def on_dropped(self) -> None:
        """Record that the process has room for another job."""

    def on_started(self, jobs: list[ImageJob]) -> None:
        """Record that a batch goes to the model."""

    def on_batch(self, done: BatchDone) -> None:
        """Record how long a batch took."""

    def on_ended(self, jobs: list[ImageJob]) -> None:
        """Take back the jobs of a process that ended."""

    def on_warning(self, text: str) -> None:
        """Log a warning of the process."""

    def on_printed(self, line: str) -> None:
        """Log a line that a library printed in the process."""


class Worker:
    """A process that is restarted when it ends; call all methods in the event loop's thread."""

    def __init__(
        self, load: LoadModel, device: str, events: WorkerEvents, *, batch_seconds: float
    ) -> None:
        """Keep the settings; `start` starts the process.

        Args:
            load: The model.
            device: Device of the process.
            events: Callbacks, called in the event loop's thread.
            batch_seconds: A process that has images in the model and reports nothing for longer
                counts as hanging and is replaced.
        """
        self._batch_seconds = batch_seconds
        request: RunRequest = replace(load.request, device=device)
        self._load, self._events = replace(load, request=request), events
        self._jobs: dict[int, ImageJob] = {}
        # Numbers, because a job may have been cancelled while the model was taking it.
        self._in_model: set[int] = set()
        self._process: ModelProcess | None = None
        self._outbox: queue.SimpleQueue[Any] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._num_failed_starts = 0
        self.has_loaded = self._is_closed = False
        self._ending: threading.Thread | None = None
        self.is_ready = False
        """Whether it can caption; `has_loaded`: whether a process of it ever could."""

    @property
    def num_jobs(self) -> int:
        """Number of jobs that the process holds."""
        return len(self._jobs)

    @property
    def num_unstarted(self) -> int:
        """Number of its jobs that the model has not started."""
        return sum(job.stage is Stage.SENT for job in self._jobs.values())

    @property
    def process_id(self) -> int | None:
        """Process id; `None`: the process is not running."""
        return None if self._process is None else self._process.process_id

    def start(self) -> None:
        """Start the process, which loads the model."""
        if self._is_closed:
            return
        loop = asyncio.get_running_loop()
        mine: list[ModelProcess] = []

        def hand_over(message: Any) -> None:
            try:
                loop.call_soon_threadsafe(take, message)
            except RuntimeError:
                return  # The event loop has ended.

        def take(message: Any) -> None:
            if mine:
                self._receive(mine[0], message)

        def note_line(line: str) -> None:
            hand_over(Printed(line))

        outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        try:
            process = ModelProcess(_ENTRY, hand_over, on_line=note_line)
            mine.append(process)
            # Sending an image blocks on the pipe, which the event loop must never do.
            threading.Thread(target=_send_all, args=(process, outbox), daemon=True).start()
        except (OSError, RuntimeError) as error:
            # The system has no more processes or threads.
            for started in mine:
                started.close()
            reason = getattr(error, "strerror", None) or error
            self._events.on_warning(f"the process cannot be started: {reason}")
            self._start_later()
            return
        self._process, self._outbox = process, outbox
        self._outbox.put(self._load)

    def caption(self, job: ImageJob) -> None:
        """Give a job to the process."""
        assert self._outbox is not None
        job.stage = Stage.SENT
        self._jobs[job.number] = job
        self._outbox.put(
            CaptionImage(
                job.number,
                job.image_id,
                job.content,
                job.configs,
                is_alone=job.is_alone,
                is_streamed=job.on_words is not None,
            )
        )

    def cancel(self, job: ImageJob) -> None:
        """Cancel a job; one that the model has started is kept until the process has dropped it."""
        if job.number not in self._jobs or self._outbox is None:
            return
        if job.stage is Stage.SENT:
            del self._jobs[job.number]
        self._outbox.put(Cancel(job.number))

    def close(self) -> None:
        """End the process for good."""
        self._is_closed = True
        self._end()
        if self._ending is not None:
            self._ending.join(_SECONDS_TO_END)

    def _receive(self, process: ModelProcess, message: Any) -> None:
        if process is not self._process:
            return
        if message is None:
            self._restart()
        elif isinstance(message, Started):
            self._note_start(message)
        elif isinstance(message, Captioned | Refused | Dropped):
            self._settle(message)
        elif isinstance(message, WordsSoFar):
            self._watch_model()
            if message.job in self._jobs:
                self._events.on_words(self._jobs[message.job], message.text)
        elif isinstance(message, StillRunning):
            self._watch_model()
        elif isinstance(message, BatchDone):
            self._watch_model()
            self._events.on_batch(message)
        else:
            self._pass_on(message)

    def _pass_on(self, message: Any) -> None:
        if isinstance(message, Loaded):
            self.is_ready = self.has_loaded = True
            self._num_failed_starts = 0
            self._events.on_loaded(message)
        elif isinstance(message, LoadFailed):
            self._events.on_load_failed(message.error)
        elif isinstance(message, Warned):
            self._events.on_warning(message.text)
        elif isinstance(message, Printed):
            self._events.on_printed(message.line)

    def _settle(self, message: Captioned | Refused | Dropped) -> None:
        if message.job in self._in_model:
            self._in_model.remove(message.job)
            self._watch_model()
        job = self._jobs.pop(message.job, None)
        if isinstance(message, Dropped):
            self._events.on_dropped()
        elif job is not None:
            self._events.on_settled(job, message)

    def _note_start(self, message: Started) -> None:
        jobs = [self._jobs[number] for number in message.jobs if number in self._jobs]
        for job in jobs:
            job.stage = Stage.STARTED
        self._in_model.update(message.jobs)
        self._watch_model()
        self._events.on_started(jobs)

    def _watch_model(self) -> None:
        """Replace the process if it still has images in the model and nothing happens for long."""
        self._stop_watch()
        if self._in_model:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(self._batch_seconds, self._restart)

    def _restart(self) -> None:
        """Start another process in place of one that ended or hangs."""
        was_ready = self.is_ready
        self._end()
        jobs, self._jobs = list(self._jobs.values()), {}
        self._events.on_ended(jobs)
        if was_ready:
            self.start()
        else:
            self._start_later()

    def _start_later(self) -> None:
        """Retry a failed start after a pause, which doubles with each failure."""
        self._num_failed_starts += 1
        if not self.has_loaded and self._num_failed_starts >= _MAX_FAILED_LOADS:
            self._events.on_load_failed(
                ModelError(
                    f"the process that loads the model ended {self._num_failed_starts} times",
                    where=self._load.request.model,
                    fix="see the log above; there may be too little memory",
                )
            )
        pause = min(_MAX_PAUSE, 2.0**self._num_failed_starts)
        asyncio.get_running_loop().call_later(pause, self.start)

    def _end(self) -> None:
        self._stop_watch()
        self._in_model.clear()
        self.is_ready = False
        if self._outbox is not None:
            self._outbox.put(None)
            self._outbox = None
        if self._process is not None:
            process, self._process = self._process, None
            # Ending a process that waits for a device takes seconds.
            self._ending = threading.Thread(target=process.close, daemon=True)
            try:
                self._ending.start()
            except RuntimeError:
                # The system has no more threads.
                self._ending = None
                process.close()

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


def _send_all(process: ModelProcess, outbox: queue.SimpleQueue[Any]) -> None:
    try:
        while (message := outbox.get()) is not None:
            process.send(message)
    except MemoryError:
        # The process lacks this image, which would wait forever; another one takes its place.
        process.close()
