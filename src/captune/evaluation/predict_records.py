"""One caption per image of a data set; unreadable files are reported, not fatal."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from captune.data import DecodeMode, SkippedImage, describe_source
from captune.errors import ImageError
from captune.inference import LoadedCaptioner
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, Prediction


def predict(
    captioner: LoadedCaptioner,
    records: Sequence[CaptionRecord],
    *,
    config: GenerateConfig,
    batch_size: int | None,
    decode: DecodeMode = "isolated",
    progress: Callable[[Prediction | SkippedImage], None] | None = None,
) -> list[Prediction]:
    """Generate a caption for every readable image, in the order of the records.

    Args:
        captioner: The model.
        records: Images; their captions are not used.
        config: How to decode.
        batch_size: Images per batch; halved with a warning if they do not fit into memory; `None`:
            by the free memory.
        decode: Where images are decoded: `isolated` or `inline`.
        progress: Called once per image, with its prediction or the reason why it has none.

    Raises:
        ModelError: The prompt leaves no room for a caption.
    """
    report = progress or (lambda _: None)
    by_id = {record.image_id: record for record in records}

    def report_failure(image_id: str, error: ImageError) -> None:
        record = by_id[image_id]
        name = record.file_name or describe_source(record.image)
        report(SkippedImage(image_id, name, error.what, error.where))

    predictions = []
    for prediction in captioner.stream(
        ((record.image_id, record.image) for record in records),
        config=config,
        batch_size=batch_size,
        decode=decode,
        on_failure=report_failure,
    ):
        report(prediction)
        predictions.append(prediction)
    return predictions


def choose_scored(
    records: Sequence[CaptionRecord], max_images: int | None, *, seed: int
) -> list[CaptionRecord]:
    """Draw at most `max_images` records with the seed, the same ones in every run.

    The draw depends on the ids, not on their order: the same files listed in another order give
    the same images. The records keep their order.

    Args:
        records: Images.
        max_images: Maximum number of images; `None`: all.
        seed: Seed of the draw.
    """
    if max_images is None or len(records) <= max_images:
        return list(records)
    ids = sorted(record.image_id for record in records)
    drawn = set(random.Random(seed).sample(ids, max_images))
    return [record for record in records if record.image_id in drawn]
