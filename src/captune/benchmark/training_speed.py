"""Speed of training: captions per second of the real loop, and its share of the machine's limit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captune.benchmark.machine_limit import MachineLimit, Work, measure_limit
from captune.benchmark.operations import count_training, count_update
from captune.errors import DataError
from captune.models import Captioner
from captune.progress import Say
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.training import TimedStep, Trial, open_trial

_MIN_STEPS = 2
"""Measured steps, after a first one that warms up."""


@dataclass(frozen=True, slots=True)
class TrainingSpeed:
    """The measured speed of a training.

    Attributes:
        setup_seconds: Seconds before the first step, encoding for the feature cache included.
        first: The first step, which warms up.
        steps: The steps after it.
        operations_per_image: Counted in a forward and backward pass.
        limit: The machine's limit.
        update: Work of one update of the weights.
        peak_memory: Bytes; of the process on CPUs, of tensors elsewhere; 0: not reported.
    """

    setup_seconds: float
    first: TimedStep
    steps: tuple[TimedStep, ...]
    operations_per_image: float
    limit: MachineLimit
    update: Work
    peak_memory: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures of `captune bench train --json`."""
        images = sum(step.images for step in self.steps)
        captions = sum(step.captions for step in self.steps)
        seconds = sum(step.seconds for step in self.steps)
        total = self.setup_seconds + self.first.seconds + seconds
        return {
            "captions_per_s": (captions + self.first.captions) / total,
            "images_per_s": (images + self.first.images) / total,
            "peak_memory_mb": self.peak_memory / 1e6,
            "share_of_limit": self._least_seconds(images) / seconds,
            "steady": {
                "captions_per_s": captions / seconds,
                "images_per_s": images / seconds,
                "steps": len(self.steps),
                "seconds_per_step": seconds / len(self.steps),
                "wait_share": sum(step.wait_seconds for step in self.steps) / seconds,
            },
            "setup_seconds": self.setup_seconds,
            "gflop_per_image": self.operations_per_image / 1e9,
            "limit": self.limit.as_json() | {"images_per_s": images / self._least_seconds(images)},
        }

    def _least_seconds(self, images: int) -> float:
        passes = Work(self.operations_per_image * images)
        return self.limit.least_seconds(passes, self.update.times(len(self.steps)))


def measure_training(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    *,
    recipe: Recipe,
    seconds: float,
    say: Say,
) -> TrainingSpeed:
    """Train for some seconds in a temporary folder, with the loop's own feeds and steps.

    Args:
        captioner: With its parts frozen; its weights change.
        records: Images with captions.
        recipe: Device, precision, batch sizes and workers.
        seconds: Minimum time of the measured steps.
        say: Called with each progress message.

    Raises:
        DataError: No image can be read.
        ModelError: The model does not fit into memory.
    """
    with (
        tempfile.TemporaryDirectory(prefix="captune-bench-") as folder,
        open_trial(captioner, records, recipe=recipe, folder=Path(folder), say=say) as trial,
    ):
        first, *steps = take_steps(trial, seconds=seconds)
        # Before counting and measuring the limit, which take memory of their own.
        peak = trial.hardware.peak_memory()
        return TrainingSpeed(
            setup_seconds=trial.setup_seconds,
            first=first,
            steps=tuple(steps),
            peak_memory=peak,
            operations_per_image=count_training(trial.pass_once, trial.sample_batch()),
            limit=measure_limit(trial.hardware, seconds=min(1.0, seconds)),
            update=count_update(trial.trained_parameters),
        )


def take_steps(trial: Trial, *, seconds: float) -> list[TimedStep]:
    """Do a first step, and then steps for some seconds.

    Raises:
        DataError: No image can be read.
    """
    steps: list[TimedStep] = []
    for step in trial.steps():
        steps.append(step)
        if not step.images and trial.failures:
            image_id, reason = next(iter(trial.failures.items()))
            raise DataError(
                f"no image of a step can be read; {image_id!r}: {reason}",
                where="--data",
                fix="check the data set with: captune data check DATA",
            )
        measured = steps[1:]
        if len(measured) >= _MIN_STEPS and sum(s.seconds for s in measured) >= seconds:
            break
    return steps
