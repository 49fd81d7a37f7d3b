"""The node's side: an actor that keeps a model supplied with images and returns its answers.

It works like a run on one machine: the model is in a child process that may crash or hang, and the
image at fault is searched for. So captions and failures are the same as on one machine.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import captune
from captune.bulk.captioning import Captioning
from captune.bulk.items import Item
from captune.bulk.settings import BulkSettings
from captune.bulk.worker.captioner import WorkerCaptioner
from captune.bulk.worker.wire import (
    Broken,
    Complete,
    Failed,
    Images,
    Message,
    Ready,
    StartStream,
)
from captune.bulk.writing.tasks import CaptionTask
from captune.errors import DataError, ImageError, ModelError
from captune.inference import AnyImage, RunRequest
from captune.records import Prediction
from captune.workers import MODEL_ERRORS, Warned, harmless_error

# Seconds until `take` returns, even with nothing: so the run knows that the actor is alive.
_MAX_WAIT = 2.0
# Seconds to wait for more images, which the run sends when few are left; after that, a batch is
# captioned even if it is not full.
_MAX_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class ActorWork:
    """Images and how to caption them, in one message: Ray does not keep messages in order.

    Attributes:
        start: How to caption them.
        images: The images.
        is_alone: Whether no more come before these are answered.
    """

    start: StartStream
    images: Images
    is_alone: bool = False


@dataclass(frozen=True, slots=True)
class ActorJob:
    """What an actor is started with.

    Attributes:
        request: The model.
        folder: Current folder of the run; paths of images and models may be relative to it.
        version: Version of captune on the run's machine.
        environment: Variables that limit a run, such as `CAPTUNE_WORKER_SECONDS`.
    """

    request: RunRequest
    folder: str
    version: str
    environment: tuple[tuple[str, str], ...] = ()


class CaptionActor:
    """Loads a model in a thread; `put` adds work, and `take` waits for answers."""

    def __init__(self, job: ActorJob) -> None:
        """Start loading."""
        self._job = job
        self._requests: queue.SimpleQueue[ActorWork | Complete] = queue.SimpleQueue()
        self._put_back: ActorWork | Complete | None = None
        self._answers: list[Message] = []
        self._arrived = threading.Condition()
        warnings.showwarning = lambda message, *_: self._post(Warned(str(message)))
        threading.Thread(target=self._work, name="captune-actor", daemon=True).start()

    def put(self, request: ActorWork | Complete) -> None:
        """Queue images, or a request for decoding settings."""
        self._requests.put(request)

    def take(self) -> list[Message]:
        """Return the answers so far, waiting up to two seconds for the first; may be empty."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._answers), _MAX_WAIT)
            answers, self._answers = self._answers, []
            return answers

    def _post(self, answer: Message) -> None:
        with self._arrived:
            self._answers.append(answer)
            self._arrived.notify_all()

    def _work(self) -> None:
        try:
            self._prepare()
            captioner = WorkerCaptioner(self._job.request)
            self._post(Ready(captioner.describe()))
            board = _Board(self)
            captionings: dict[StartStream, Captioning] = {}
            while True:
                request = self._next_request()
                if isinstance(request, Complete):
                    self._post(captioner.complete(request.decoding))
                    continue
                start = request.start
                if start not in captionings:
                    settings = BulkSettings(
                        decoding=start.config, batch_size=start.batch_size, decode=start.decode
                    )
                    captionings = {start: Captioning(captioner, board, settings)}
                captionings[start].caption(self._tasks(request))
        except MODEL_ERRORS as error:
            self._post(Broken(harmless_error(error)))
        finally:
            # Whatever ends this thread, the run must not wait for it.
            self._post(
                Broken(RuntimeError("the actor stopped captioning; see its log on the node"))
            )

    def _prepare(self) -> None:
        """Give this process the environment and the current folder of the run.

        Raises:
            ModelError: This node has another version of captune.
            DataError: This node does not see the files of the run.
        """
        job, node = self._job, platform.node()
        if captune.__version__ != job.version:
            raise ModelError(
                f"the node {node} has captune {captune.__version__},"
                f" but this machine has {job.version}",
                fix="install the same version on all nodes",
            )
        os.environ.update(dict(job.environment))
        if not Path(job.folder).is_dir():
            raise DataError(
                f"the node {node} lacks the folder {job.folder}, in which the command runs",
                where="--engine ray",
                fix="run it in a folder that all nodes share",
            )
        os.chdir(job.folder)

    def _next_request(self, timeout: float | None = None) -> ActorWork | Complete:
        if self._put_back is not None:
            request, self._put_back = self._put_back, None
            return request
        return self._requests.get(timeout=timeout)

    def _tasks(self, work: ActorWork) -> Iterator[CaptionTask]:
        """Yield the images of `work`, and of work with the same settings that follows soon."""
        following: ActorWork | Complete = work
        while isinstance(following, ActorWork) and following.start == work.start:
            for name, image in following.images.images:
                yield CaptionTask(Item(name, image))
            if following.is_alone:
                return
            try:
                following = self._next_request(_MAX_PAUSE)
            except queue.Empty:
                return
        self._put_back = following

    def answer(self, task: CaptionTask) -> None:
        """Post the caption or the failure of an image."""
        if task.prediction is not None:
            self._post(task.prediction)
        else:
            self._post(Failed(task.item.name, task.error or ImageError("unknown")))


class _Board:
    """The images that the model has not answered; answers may come in any order."""

    def __init__(self, actor: CaptionActor) -> None:
        self._actor = actor
        self._tasks: dict[str, CaptionTask] = {}

    def admit(self, task: CaptionTask) -> bool:
        """Accept an image; always true, as the run sends only images that must be captioned."""
        self._tasks[task.item.name] = task
        return True

    def settle(self, prediction: Prediction) -> None:
        """Answer an image with its caption."""
        task = self._tasks.pop(prediction.image_id)
        task.prediction, task.is_new = prediction, True
        self._actor.answer(task)

    def fail(self, name: str, error: ImageError) -> None:
        """Answer an image with its failure."""
        task = self._tasks.pop(name)
        task.error = error
        self._actor.answer(task)

    def pending(self) -> list[CaptionTask]:
        """Return the images that have no answer."""
        return list(self._tasks.values())


def image_file(image: AnyImage) -> Path | None:
    """Return the file that a node opens for an image; `None`: it opens none."""
    file = getattr(image, "archive", image)
    return Path(file) if isinstance(file, os.PathLike) else None
