"""Captioning that continues: an image that breaks the model costs that image, not its batch.

`LoadedCaptioner.stream` reports images that cannot be decoded, and halves batches that do not fit
in memory. Any other error that an image causes in the model ends the stream: the unanswered images
are then captioned again in ever smaller halves, until the image at fault is found.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

from captune.bulk.settings import BulkSettings
from captune.bulk.worker.captioner import WorkerEndedError
from captune.bulk.writing.tasks import CaptionTask
from captune.data import DecodeMode, ImageDecoder
from captune.errors import MODEL_FAULTS, CaptuneError, ImageError, ModelError
from captune.inference import AnyImage, OnFailure
from captune.recipe import GenerateConfig
from captune.records import Prediction

# Errors that an image may cause in a model; ModelError: a single image does not fit in memory.
_ERRORS = (*MODEL_FAULTS, ModelError)
_FIXES = {
    "model_error": "the model failed on this image",
    "worker_crash": "the process with the model crashed on this image, twice",
    "worker_hang": "the model gave no answer for this image, twice",
}
# If this many images fail on their own before any has succeeded, the model is broken.
_MAX_FIRST_FAILURES = 8


class StreamCaptioner(Protocol):
    """The part of `LoadedCaptioner` that a run uses; see there."""

    def describe(self) -> str:
        """Return what runs the model."""

    def complete(self, decoding: GenerateConfig) -> GenerateConfig:
        """Return the settings, with unset ones filled in from the model's own."""

    def stream(
        self,
        images: Iterable[tuple[str, AnyImage]],
        *,
        config: GenerateConfig,
        batch_size: int | None = None,
        decode: DecodeMode | ImageDecoder = "isolated",
        on_failure: OnFailure | None = None,
    ) -> Generator[Prediction]:
        """Yield one caption per image; on a cluster, in any order."""


class TaskBoard(Protocol):
    """Where tasks wait for their answers; see `OrderedTasks`."""

    def admit(self, task: CaptionTask) -> bool:
        """Accept a task; return whether the model must caption its image."""

    def settle(self, prediction: Prediction) -> None:
        """Settle a task with a generated caption."""

    def fail(self, name: str, error: ImageError) -> None:
        """Settle a task with a failure."""

    def pending(self) -> list[CaptionTask]:
        """Return the tasks that the model has not answered, in order of admission."""


class Captioning:
    """Captions tasks with a model and settles each one."""

    def __init__(
        self,
        captioner: StreamCaptioner,
        ordered: TaskBoard,
        settings: BulkSettings,
        *,
        decoder: ImageDecoder | None = None,
    ) -> None:
        """Keep the model, and fill in the decoding settings that the user left unset.

        Args:
            captioner: The model.
            ordered: Where tasks wait for their answers.
            settings: Settings of the run.
            decoder: An open decoder, for a model in this process; `None`: by the settings.
        """
        self._captioner, self._ordered, self._settings = captioner, ordered, settings
        self._decode = settings.decode if decoder is None else decoder
        self._config = captioner.complete(settings.decoding)
        self._num_succeeded = 0
        self._num_broken = 0
        self._source_error: BaseException | None = None

    def caption(self, tasks: Iterator[CaptionTask]) -> None:
        """Caption all tasks.

        Raises:
            CaptuneError: The source of the tasks raises one.
            Exception: The model's own error, where its first images all fail.
        """
        while True:
            try:
                self._stream(self._admitted(tasks))
                return
            except _ERRORS as error:
                pending = self._ordered.pending()
                # Without an image in the model, none is at fault, and the next try fails alike.
                if error is self._source_error or not pending:
                    raise
                self._halve(pending, error)

    def _admitted(self, tasks: Iterator[CaptionTask]) -> Iterator[tuple[str, AnyImage]]:
        """Yield the images that the model must caption."""
        while True:
            try:
                task = next(tasks, None)
            except (CaptuneError, *_ERRORS) as error:
                self._source_error = error
                raise
            if task is None:
                return
            if self._ordered.admit(task):
                yield task.item.name, task.item.image

    def _stream(self, images: Iterable[tuple[str, AnyImage]]) -> None:
        predictions = self._captioner.stream(
            images,
            config=self._config,
            batch_size=self._settings.batch_size,
            decode=self._decode,
            on_failure=self._ordered.fail,
        )
        with closing(predictions):
            for prediction in predictions:
                self._num_succeeded += 1
                if "empty" in prediction.flags or not prediction.caption.strip():
                    self._ordered.fail(prediction.image_id, ImageError("empty_caption"))
                else:
                    self._ordered.settle(prediction)

    def _halve(self, tasks: Sequence[CaptionTask], error: Exception) -> None:
        """Caption tasks of which one broke the model, half at a time."""
        if len(tasks) <= 1:
            for task in tasks:
                self._try_alone(task, error)
            return
        middle = len(tasks) // 2
        for part in (tasks[:middle], tasks[middle:]):
            try:
                self._stream((task.item.name, task.item.image) for task in part)
            except _ERRORS as inner:
                self._halve([task for task in part if not task.is_settled], inner)

    def _try_alone(self, task: CaptionTask, error: Exception) -> None:
        """Fail an image; after a crash or a hang, only if a second try fails too."""
        if isinstance(error, WorkerEndedError):
            try:
                self._stream([(task.item.name, task.item.image)])
                return
            except _ERRORS as again:
                error = again
        self._num_broken += 1
        if self._num_succeeded == 0 and self._num_broken >= _MAX_FIRST_FAILURES:
            raise error
        is_own = isinstance(error, CaptuneError)
        reason = str(error) if is_own else f"{type(error).__name__}: {error}"
        code = error.code if isinstance(error, WorkerEndedError) else "model_error"
        self._ordered.fail(
            task.item.name, ImageError(code, where=reason, fix=f"{_FIXES[code]}: {reason}")
        )
