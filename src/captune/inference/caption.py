"""Caption images batch by batch in torch; a batch that does not fit in memory is halved."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from captune.errors import ImageError, ModelError
from captune.hardware import (
    Hardware,
    choose_hardware,
    free_cached_memory,
    is_out_of_memory,
)
from captune.inference.decoding.decode import eval_mode
from captune.inference.prepare import AnyImage, Execution, ImageMarks, OnFailure, prepare_ahead
from captune.inference.torch_batches import TorchBatches
from captune.models import (
    Captioner,
    InferenceForm,
    exact_enough,
    inference_form,
    level_transform,
)
from captune.recipe import GenerateConfig
from captune.records import Prediction, VisionInputs


def caption_images(
    captioner: Captioner,
    images: Iterable[tuple[str, AnyImage]],
    *,
    config: GenerateConfig,
    batch_size: int = 16,
    execution: Execution | None = None,
    on_failure: OnFailure | None = None,
) -> Generator[Prediction]:
    """Yield one caption per image, for any number of images, in order.

    At most the pixels of a few batches are held. A batch that does not fit in the device's memory
    is halved with a warning, and later batches keep the smaller size.

    Args:
        captioner: The model, on its device.
        images: Ids and images; read slightly ahead of what is yielded.
        config: Complete decoding settings.
        batch_size: Images per batch, at least 1.
        execution: Device, precision, and where images are decoded; `None`: defaults.
        on_failure: Called with each unusable image, which is then skipped; `None`: raise its
            error.

    Raises:
        ImageError: An image cannot be used and `on_failure` is `None`.
        ModelError: The prompt leaves no room for a caption, or one image does not fit in memory.
    """
    execution = execution or Execution()
    batches = open_torch_batches(captioner, execution)
    batch = _Batch(batches, config, size=max(1, batch_size))
    marks = ImageMarks()
    prepared = prepare_ahead(
        batches.prepare, images, decode=execution.decode, batch_size=batch.size, marks=marks
    )
    # Closed here: a traceback that is kept would keep the generator and its processes alive.
    with closing(prepared):
        for image_id, inputs in prepared:
            if isinstance(inputs, ImageError):
                if on_failure is None:
                    raise inputs
                on_failure(image_id, inputs)
                continue
            batch.waiting.append((image_id, inputs))
            if batch.is_full:
                yield from marks.flag(batch.caption())
        yield from marks.flag(batch.caption())


def open_torch_batches(captioner: Captioner, execution: Execution) -> TorchBatches:
    """Return the model, ready for batches that the caller forms."""
    hardware = execution.hardware or choose_hardware(str(captioner.device), "fp32")
    form = _form_for(captioner, hardware, execution)
    # Images wait and are copied to the device as 8-bit values, which the device normalises to the
    # same float32 values.
    return TorchBatches(form, hardware, level_transform(captioner.image_transform(), exact=True))


@dataclass(slots=True)
class _Batch:
    """Images waiting for the model.

    Attributes:
        batches: The model.
        config: Decoding settings.
        size: Images per batch; halved when a batch does not fit.
        waiting: Ids and model inputs, one pair per image.
    """

    batches: TorchBatches
    config: GenerateConfig
    size: int
    waiting: list[tuple[str, VisionInputs]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.waiting) >= self.size

    def caption(self) -> list[Prediction]:
        """Return the captions of all waiting images, in as few passes as fit in memory."""
        predictions: list[Prediction] = []
        while self.waiting:
            now = self.waiting[: self.size]
            try:
                predictions += [one for (one,) in self.batches.caption(now, [self.config])]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
                continue
            del self.waiting[: len(now)]
        return predictions

    def _halve(self, error: Exception) -> None:
        device = self.batches.hardware.device
        free_cached_memory(device)
        tried = min(self.size, len(self.waiting))
        if tried == 1:
            raise ModelError(
                f"one image does not fit in the memory of {device}",
                fix="lower num_beams or max_new_tokens, or use another device",
            ) from error
        self.size = tried // 2
        message = f"{tried} images do not fit in the memory of {device} at once"
        warnings.warn(f"{message}: continuing with {self.size}", stacklevel=2)


def _form_for(captioner: Captioner, hardware: Hardware, execution: Execution) -> InferenceForm:
    """Return the model arranged for captioning; reuse the kept form if nothing has changed."""
    vision = text = hardware.dtype
    if execution.is_exact_enough:
        vision, text = exact_enough(captioner, hardware.dtype)
    kept = execution.kept
    if kept and kept[0].fits(captioner, vision=vision, text=text):
        form: InferenceForm = kept[0]
        return form
    with eval_mode(captioner):
        form = inference_form(captioner, vision=vision, text=text)
    kept[:] = [form]
    return form
