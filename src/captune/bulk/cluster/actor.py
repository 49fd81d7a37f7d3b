"""The side of a node: an actor that keeps a model busy with images, and hands out its answers.

It uses what a run on one machine uses: the model in a child process that may crash or hang, and
the search for the image that did it. So the captions and the failures are those of such a run.
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

# An answer at least as often, even if it is empty: the run knows that the actor is alive.
_MAX_WAIT = 2.0
# The next images come as soon as the run sees that there are few; without any, the batch that
# waits for more of them is captioned.
_MAX_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class ActorWork:
    """Images and what to do with them: Ray does not keep the order of messages to an actor."""

    start: StartStream
    images: Images


@dataclass(frozen=True, slots=True)
class ActorJob:
    """What an actor is started with.

    Attributes:
        request: The model.
        folder: Current folder of the run: names of images and models may be relative to it.
        version: Version of captune that runs.
        environment: Variables that limit a run, such as `CAPTUNE_WORKER_SECONDS`.
    """

    request: RunRequest
    folder: str
    version: str
    environment: tuple[tuple[str, str], ...] = ()


class CaptionActor:
    """Loads a model in a thread; `put` gives it work, and `take` waits for its answers."""

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
        """Take images, or a question."""
        self._requests.put(request)

    def take(self) -> list[Message]:
        """Wait for answers; none after two seconds."""
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
        """Make this process like the one of the run.

        Raises:
            ModelError: This node has another version of captune.
            DataError: This node does not see the files of the run.
        """
        job, node = self._job, platform.node()
        if captune.__version__ != job.version:
            raise ModelError(
                f"the node {node} has captune {captune.__version__}, this machine {job.version}",
                fix="install the same version on all nodes",
            )
        os.environ.update(dict(job.environment))
        if not Path(job.folder).is_dir():
            raise DataError(
                f"the node {node} has no folder {job.folder}, in which this command runs",
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
        """Yield the images of some work, and of what follows soon."""
        following: ActorWork | Complete = work
        while isinstance(following, ActorWork) and following.start == work.start:
            for name, image in following.images.images:
                yield CaptionTask(Item(name, image))
            try:
                following = self._next_request(_MAX_PAUSE)
            except queue.Empty:
                return
        self._put_back = following

    def answer(self, task: CaptionTask) -> None:
        """Hand out the answer to an image."""
        if task.prediction is not None:
            self._post(task.prediction)
        else:
            self._post(Failed(task.item.name, task.error or ImageError("unknown")))


class _Board:
    """The images that the model has, answered in any order."""

    def __init__(self, actor: CaptionActor) -> None:
        self._actor = actor
        self._tasks: dict[str, CaptionTask] = {}

    def admit(self, task: CaptionTask) -> bool:
        """Take an image; the run has already seen which must be captioned."""
        self._tasks[task.item.name] = task
        return True

    def settle(self, prediction: Prediction) -> None:
        """Take a caption."""
        task = self._tasks.pop(prediction.image_id)
        task.prediction, task.is_new = prediction, True
        self._actor.answer(task)

    def fail(self, name: str, error: ImageError) -> None:
        """Take a failure."""
        task = self._tasks.pop(name)
        task.error = error
        self._actor.answer(task)

    def pending(self) -> list[CaptionTask]:
        """Return the images that have no answer."""
        return list(self._tasks.values())


def image_file(image: AnyImage) -> Path | None:
    """Return the file that a node opens for an image; `None`: it opens none."""
    archive = getattr(image, "archive", None)
    return image if isinstance(image, Path) else archive if isinstance(archive, Path) else None
