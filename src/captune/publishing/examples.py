"""Images of the scored split with their generated captions, small enough for a model's page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from captune.errors import ImageError
from captune.storage import has_regular

EXAMPLE_PATHS = ("examples/1.jpg", "examples/2.jpg", "examples/3.jpg")
"""File names of the examples in the repository."""

FIX_FILE = "write it again, or move it away to push without it"
"""How to fix a damaged file of a run."""

_SIDE = 512


@dataclass(frozen=True, slots=True)
class Example:
    """One image to try.

    Attributes:
        path: File name in the repository.
        title: Label of the widget's button.
        caption: The model's caption of it.
        jpeg: The encoded image without metadata; its longer side has at most 512 pixels.
        before: The caption of the model before training; `None` if it was not run.
        human: The first human caption.
    """

    path: str
    title: str
    caption: str
    jpeg: bytes
    before: str | None = None
    human: str = ""


def find_examples(run: Path) -> tuple[Example, ...]:
    """Return the first captioned images of a run that can be read; none before its evaluation.

    Raises:
        DataError: A file of predictions, or of the splits, is broken.
    """
    predictions = run / "predictions" / "after.jsonl"
    if not has_regular(predictions, fix=FIX_FILE):
        return ()

    from captune.data import decode_image, load_splits
    from captune.inference import read_predictions

    untrained = run / "predictions" / "before.jsonl"
    before = {}
    if has_regular(untrained, fix=FIX_FILE):
        before = {p.image_id: p.caption for p in read_predictions(untrained)}
    records = {record.image_id: record for record in load_splits(run)}
    examples: list[Example] = []
    for prediction in read_predictions(predictions):
        record = records.get(prediction.image_id)
        if record is None or not prediction.caption:
            continue
        try:
            image = decode_image(record.image)
        except ImageError:
            # Moved since the run, or never readable: the next one will do.
            continue
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        examples.append(
            Example(
                EXAMPLE_PATHS[len(examples)],
                f"Example {len(examples) + 1}",
                prediction.caption,
                buffer.getvalue(),
                before=before.get(prediction.image_id),
                human=next(iter(record.captions), ""),
            )
        )
        if len(examples) == len(EXAMPLE_PATHS):
            break
    return tuple(examples)
