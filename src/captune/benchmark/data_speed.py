"""Speed of the data: images per second that training's reader delivers, and who waits for whom."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.benchmark.training_speed import take_steps
from captune.errors import DataError
from captune.models import Captioner
from captune.progress import Say
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.training import TimedStep, open_trial


@dataclass(frozen=True, slots=True)
class DataSpeed:
    """The measured speed of the reader.

    Attributes:
        images: Images per epoch.
        first_epoch: Images per second of the first epoch.
        later_epochs: Images per second of each epoch after it.
        steps: Training steps that used the reader.
        failures: Images that could not be read, with the reasons.
    """

    images: int
    first_epoch: float
    later_epochs: tuple[float, ...]
    steps: tuple[TimedStep, ...]
    failures: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the figures of `captune bench data --json`."""
        seconds = sum(step.seconds for step in self.steps)
        return {
            "images_per_s": statistics.median(self.later_epochs),
            "first_epoch_images_per_s": self.first_epoch,
            "wait_share": sum(step.wait_seconds for step in self.steps) / seconds,
            "images": self.images,
            "training_images_per_s": sum(step.images for step in self.steps) / seconds,
        }


def measure_data(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    *,
    recipe: Recipe,
    epochs: int,
    seconds: float,
    say: Say,
) -> DataSpeed:
    """Read a data set for some epochs as training does, and then train on it.

    Args:
        captioner: Nothing is frozen, so that every step needs pixels; its weights change.
        records: Images with captions.
        recipe: Device, precision, batch sizes and workers.
        epochs: Epochs to read, at least 2.
        seconds: Minimum time of the training steps.
        say: Called with each progress message.

    Raises:
        DataError: No image can be read.
    """
    with (
        tempfile.TemporaryDirectory(prefix="captune-bench-") as folder,
        open_trial(captioner, records, recipe=recipe, folder=Path(folder), say=say) as trial,
    ):
        speeds = []
        for epoch in range(epochs):
            images, taken = trial.read_epoch(epoch)
            if not images:
                image_id, reason = next(iter(trial.failures.items()))
                raise DataError(
                    f"no image can be read; {image_id!r}: {reason}",
                    where="DATA",
                    fix="check the data set with: captune data check DATA",
                )
            speeds.append(images / taken)
        steps = take_steps(trial, seconds=seconds)
        return DataSpeed(images, speeds[0], tuple(speeds[1:]), tuple(steps[1:]), trial.failures)
