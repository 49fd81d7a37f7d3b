"""Caption any number of images in torch."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from captune.errors import ImageError
from captune.hardware import Hardware, choose_hardware, find_recorder
from captune.inference.batch_size import choose_batch_size
from captune.inference.decoding.decode import eval_mode
from captune.inference.flow import CaptionFlow
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
from captune.records import Prediction


def caption_images(
    captioner: Captioner,
    images: Iterable[tuple[str, AnyImage]],
    *,
    config: GenerateConfig,
    batch_size: int | None = None,
    execution: Execution | None = None,
    on_failure: OnFailure | None = None,
) -> Generator[Prediction]:
    """Yield one caption per image, for any number of images, in order.

    A row of the batch whose caption has ended takes the next image. At most the pixels of a few
    batches are held. A batch that does not fit in the device's memory is halved with a warning, and
    later batches keep the smaller size.

    Args:
        captioner: The model, on its device.
        images: Ids and images; read slightly ahead of what is yielded.
        config: Complete decoding settings.
        batch_size: Images per batch, at least 1; `None`: by the free memory.
        execution: Device, precision, and where images are decoded; `None`: defaults.
        on_failure: Called with each unusable image, which is then skipped; `None`: raise its
            error.

    Raises:
        ImageError: An image cannot be used and `on_failure` is `None`.
        ModelError: The prompt leaves no room for a caption, or one image does not fit in memory.
    """
    execution = execution or Execution()
    batches = open_torch_batches(captioner, execution)
    size = choose_batch_size(batches, config) if batch_size is None else max(1, batch_size)
    flow = CaptionFlow(batches, config, size)
    marks = ImageMarks()
    prepared = prepare_ahead(
        batches.prepare, images, decode=execution.decode, batch_size=size, marks=marks
    )
    # Closed here: a traceback that is kept would keep the generator and its processes alive.
    with closing(prepared):
        for image_id, inputs in prepared:
            if not isinstance(inputs, ImageError):
                yield from marks.flag(flow.take(image_id, inputs))
            elif on_failure is None:
                raise inputs
            else:
                on_failure(image_id, inputs)
        yield from marks.flag(flow.finish())


def open_torch_batches(captioner: Captioner, execution: Execution) -> TorchBatches:
    """Return the model, ready for batches that the caller forms."""
    hardware = execution.hardware or choose_hardware(str(captioner.device), "fp32")
    form = _form_for(captioner, hardware, execution)
    # Images wait and are copied to the device as 8-bit values, which the device normalises to the
    # same float32 values.
    transform = level_transform(captioner.image_transform(), exact=True)
    return TorchBatches(form, hardware, transform, find_recorder(hardware.device))


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
