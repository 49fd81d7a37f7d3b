"""Captions of a data set's images, one each; files that cannot be read are told, not fatal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from PIL import Image

from captune.data import SkippedImage, decode_image, describe_source
from captune.errors import ImageError
from captune.inference import generate
from captune.models import Captioner
from captune.models.devices import Hardware, choose_hardware
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction

_DECODING_THREADS = 2
_Decoded = Image.Image | ImageError


def predict(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    config: GenerateConfig,
    *,
    batch_size: int,
    precision: str = "auto",
    progress: Callable[[Prediction | SkippedImage], None] | None = None,
) -> list[Prediction]:
    """Generate a caption for every image that can be read, in the order of the records.

    Args:
        captioner: The model, on its device.
        records: Images; their captions are not looked at.
        config: How to decode.
        batch_size: Images at once.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        progress: Told of every image once: its prediction, or why it has none.

    Raises:
        RecipeError: The device cannot compute in that precision.
        ModelError: The prompt leaves no room for a caption.
    """
    hardware = choose_hardware(str(captioner.device), precision)
    tell = progress or (lambda _: None)
    predictions: list[Prediction] = []
    for batch, images in _decode_ahead(records, batch_size=batch_size):
        readable: list[tuple[CaptionRecord, Image.Image]] = []
        for record, image in zip(batch, images, strict=True):
            if isinstance(image, ImageError):
                tell(_skipped(record, image))
            else:
                readable.append((record, image))
        for prediction in _caption(captioner, readable, config, hardware=hardware):
            predictions.append(prediction)
            tell(prediction)
    return predictions


def _decode_ahead(
    records: Sequence[CaptionRecord], *, batch_size: int
) -> Iterator[tuple[Sequence[CaptionRecord], list[_Decoded]]]:
    """Batches of images; the next one is decoded while the model works on this one."""
    batches = [records[at : at + batch_size] for at in range(0, len(records), batch_size)]
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        waiting: list[list[Future[_Decoded]]] = []
        for place, batch in enumerate(batches):
            for ahead in batches[place + len(waiting) : place + 2]:
                waiting.append([pool.submit(_decode, record) for record in ahead])
            yield batch, [future.result() for future in waiting.pop(0)]


def _decode(record: CaptionRecord) -> _Decoded:
    try:
        return decode_image(record.image)
    except ImageError as error:
        return error


@torch.inference_mode()
def _caption(
    captioner: Captioner,
    readable: Sequence[tuple[CaptionRecord, Image.Image]],
    config: GenerateConfig,
    *,
    hardware: Hardware,
) -> list[Prediction]:
    if not readable:
        return []
    captioner.eval_mode()
    pixels = captioner.pixel_values([image for _, image in readable]).to(hardware.device)
    with hardware.autocast():
        states = captioner.encode(pixels)
        return generate(captioner, states, [record.image_id for record, _ in readable], config)


def _skipped(record: CaptionRecord, error: ImageError) -> SkippedImage:
    name = record.file_name or describe_source(record.image)
    return SkippedImage(record.image_id, name, error.what, error.where)
