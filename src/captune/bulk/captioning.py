"""Captioning that continues: an image that breaks the model costs that image, not its batch.

`LoadedCaptioner.stream` lists images that cannot be decoded, and halves batches that do not fit in
memory. What else an image does to a model ends the stream: then the images that were on their way
are captioned again in halves, until the one is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from captune.bulk.feed.ordered import OrderedTasks
from captune.bulk.writing.tasks import CaptionTask
from captune.data import DecodeMode
from captune.errors import CaptuneError, ImageError, ModelError
from captune.inference import AnyImage, LoadedCaptioner
from captune.recipe import GenerateConfig

# What a model raises about an image; of captune's own errors, that one image does not fit.
_ERRORS = (
    RuntimeError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    ModelError,
)
# If this many images fail one by one, and none ever succeeded, the model is broken.
_MAX_FIRST_FAILURES = 8


class Captioning:
    """Captions tasks with a model, and settles each."""

    def __init__(
        self,
        captioner: LoadedCaptioner,
        ordered: OrderedTasks,
        *,
        config: GenerateConfig,
        batch_size: int,
        decode: DecodeMode,
    ) -> None:
        """Keep the model and its settings."""
        self._captioner, self._ordered, self._config = captioner, ordered, config
        self._batch_size, self._decode = batch_size, decode
        self._num_succeeded = 0
        self._num_broken = 0
        self._source_error: BaseException | None = None

    def caption(self, tasks: Iterator[CaptionTask]) -> None:
        """Caption all tasks.

        Raises:
            CaptuneError: The tasks end with one, or the model supports none of the images.
        """
        while True:
            try:
                self._stream(self._admitted(tasks))
                return
            except _ERRORS as error:
                if error is self._source_error:
                    raise
                self._halve(self._ordered.pending(), error)

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
            batch_size=self._batch_size,
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
        """Caption tasks one of which broke the model."""
        if len(tasks) == 1:
            self._give_up(tasks[0], error)
            return
        middle = len(tasks) // 2
        for part in (tasks[:middle], tasks[middle:]):
            try:
                self._stream((task.item.name, task.item.image) for task in part)
            except _ERRORS as inner:
                self._halve([task for task in part if not task.is_settled], inner)

    def _give_up(self, task: CaptionTask, error: Exception) -> None:
        self._num_broken += 1
        if self._num_succeeded == 0 and self._num_broken >= _MAX_FIRST_FAILURES:
            raise error
        reason = (
            str(error) if isinstance(error, CaptuneError) else f"{type(error).__name__}: {error}"
        )
        self._ordered.fail(
            task.item.name,
            ImageError(
                "model_error", where=reason, fix=f"the model failed at this image: {reason}"
            ),
        )
