"""A stream of images through a model whose rows take new images as others end."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from captune.errors import ModelError
from captune.hardware import free_cached_memory, is_out_of_memory
from captune.inference.torch_batches import RunningCaptions, TorchBatches
from captune.recipe import GenerateConfig
from captune.records import Prediction, VisionInputs

_REFILL = 4
"""A fourth of the rows must be free before new images take them: the vision encoder is fastest with
several images, and each refill costs a pass over the prompt."""


@dataclass(slots=True)
class _Image:
    """An image whose caption has not been returned yet.

    Attributes:
        image_id: Its id.
        inputs: Its model inputs.
        prediction: Its caption, once it has ended.
    """

    image_id: str
    inputs: VisionInputs
    prediction: Prediction | None = None


@dataclass(slots=True)
class CaptionFlow:
    """Captions images in their order; a batch that does not fit in memory is halved.

    Attributes:
        batches: The model.
        config: Complete decoding settings.
        size: Rows, that is images per batch; halved when they do not fit.
    """

    batches: TorchBatches
    config: GenerateConfig
    size: int
    _images: deque[_Image] = field(default_factory=deque)
    _waiting: deque[_Image] = field(default_factory=deque)
    _running: RunningCaptions | None = None
    _started: dict[int, _Image] = field(default_factory=dict)

    def take(self, image_id: str, inputs: VisionInputs) -> Iterator[Prediction]:
        """Take an image, and yield the captions that end before the next one is needed."""
        image = _Image(image_id, inputs)
        self._images.append(image)
        self._waiting.append(image)
        while self._is_busy() or len(self._waiting) >= self._free():
            self._advance(is_last=False)
            yield from self._ended()

    def finish(self) -> Iterator[Prediction]:
        """Yield all remaining captions."""
        while self._images:
            self._advance(is_last=True)
            yield from self._ended()

    def _refill(self) -> int:
        return max(1, self.size // _REFILL)

    def _free(self) -> int:
        """Return how many images may start now."""
        running = self._running
        if running is None or not running.num_running:
            return self.size
        return running.num_free if running.may_add else 0

    def _is_busy(self) -> bool:
        """Return whether rows must end before other images start.

        Images whose captions wait for that of an earlier one are held, so their number is limited.
        """
        if self._running is None or not self._running.num_running:
            # Also after a batch was halved, whatever is held: there is no row to wait for.
            return False
        free = self._free()
        held = len(self._images) - len(self._waiting)
        return free < self._refill() or held + free > 2 * self.size

    def _advance(self, *, is_last: bool) -> None:
        """Start waiting images if there is room; else caption until rows end."""
        try:
            if self._waiting and not self._is_busy():
                self._start()
                return
            assert self._running is not None
            # More rows than are free now; all of them where no others can start.
            free = max(self._refill(), self._running.num_free + 1)
            ended = self._running.advance(free=free, is_last=is_last and not self._waiting)
            self._note(ended)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error
        self._halve(failure)

    def _start(self) -> None:
        count = min(len(self._waiting), self._free())
        if self._running is None:
            self._running = self.batches.run(self.config)
        now = [self._waiting.popleft() for _ in range(count)]
        first = self._running.next_number
        self._started |= dict(enumerate(now, first))
        self._note(self._running.add([(image.image_id, image.inputs) for image in now]))

    def _note(self, ended: list[tuple[int, Prediction]]) -> None:
        for number, prediction in ended:
            self._started.pop(number).prediction = prediction

    def _ended(self) -> Iterator[Prediction]:
        while self._images and (prediction := self._images[0].prediction) is not None:
            self._images.popleft()
            yield prediction

    def _halve(self, error: Exception) -> None:
        device = self.batches.hardware.device
        self._running = None
        error.__traceback__ = None
        free_cached_memory(device)
        tried = len(self._started)
        # Their captions start again.
        self._waiting.extendleft(reversed(self._started.values()))
        self._started.clear()
        if tried == 1:
            raise ModelError(
                f"one image does not fit in the memory of {device}",
                fix="lower num_beams or max_new_tokens, or use another device",
            ) from error
        self.size = tried // 2
        message = f"{tried} images do not fit in the memory of {device} at once"
        warnings.warn(f"{message}: continuing with {self.size}", stacklevel=2)
