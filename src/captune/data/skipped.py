"""`skipped_images.jsonl`: the images that a run did not use, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from captune.data.dataset import SkippedImage
from captune.storage import write_jsonl


def save_skipped(skipped: Sequence[SkippedImage], path: Path) -> None:
    """Write the list whole: `image_id`, `file`, `reason`, `detail` a line.

    Raises:
        OutputError: The place cannot be written.
    """
    write_jsonl(path, (asdict(image) for image in skipped))
