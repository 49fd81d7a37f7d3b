"""Images of the scored split with the captions they got, small enough for a model's page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from captune.errors import ImageError

EXAMPLE_PATHS = ("examples/1.jpg", "examples/2.jpg", "examples/3.jpg")
"""Names of the examples on the hub."""

_SIDE = 512


@dataclass(frozen=True, slots=True)
class Example:
    """One image to try.

    Attributes:
        path: Its name on the hub.
        title: What the button says.
        caption: What the model said of it.
        jpeg: The image, its longer side 512 pixels at most, without its metadata.
    """

    path: str
    title: str
    caption: str
    jpeg: bytes


def find_examples(run: Path) -> tuple[Example, ...]:
    """The first captioned images of a run that can be read; none before it was evaluated.

    Raises:
        DataError: The file of predictions is broken.
    """
    predictions = run / "predictions" / "after.jsonl"
    if not predictions.is_file():
        return ()

    from captune.data import decode_image, load_splits
    from captune.inference import read_predictions

    records = {record.image_id: record for record in load_splits(run)}
    examples: list[Example] = []
    for prediction in read_predictions(predictions):
        record = records.get(prediction.image_id)
        if record is None or not prediction.caption:
            continue
        try:
            image = decode_image(record.image)
        except ImageError:
            # Moved since the run, or never readable: there are others.
            continue
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        path = EXAMPLE_PATHS[len(examples)]
        title = f"Example {len(examples) + 1}"
        examples.append(Example(path, title, prediction.caption, buffer.getvalue()))
        if len(examples) == len(EXAMPLE_PATHS):
            break
    return tuple(examples)
