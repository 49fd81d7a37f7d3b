"""Steps of a real training that are timed and then discarded, for `captune bench`.

Feeds, caches, workers and optimizer steps are those of the loop; validations and checkpoints are
skipped. Nothing is written outside the caller's folder, but the weights change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from captune.hardware import Hardware
from captune.models import Captioner
from captune.progress import Say
from captune.recipe import Recipe
from captune.records import CaptionBatch, CaptionRecord
from captune.training.batches.feeding import Feed
from captune.training.forecast.estimate import read_micro_batch
from captune.training.loop import make_stepper
from captune.training.run_state import RunState
from captune.training.setup import launched, start_run
from captune.training.steps.optimizer_step import Stepper


@dataclass(frozen=True, slots=True)
class TimedStep:
    """One optimizer step.

    Attributes:
        images: Number of images read.
        captions: Number of captions learned from.
        wait_seconds: Seconds spent waiting for its batches.
        step_seconds: Seconds of the step itself.
    """

    images: int
    captions: int
    wait_seconds: float
    step_seconds: float

    @property
    def seconds(self) -> float:
        """Seconds of waiting and of the step."""
        return self.wait_seconds + self.step_seconds


@dataclass(frozen=True, slots=True)
class Trial:
    """A training that is ready for its first step.

    Attributes:
        captioner: The model, on its device.
        hardware: Device and precision.
        setup_seconds: Seconds of the setup, with tokens and features of a frozen vision part.
        steps_per_epoch: Optimizer steps per epoch.
        trained_parameters: Number of trained weights.
    """

    captioner: Captioner
    hardware: Hardware
    setup_seconds: float
    steps_per_epoch: int
    trained_parameters: int
    _feed: Feed
    _stepper: Stepper
    _run_state: RunState

    def steps(self, *, first_epoch: int = 0) -> Iterator[TimedStep]:
        """Yield the times of optimizer steps without end, epoch after epoch."""
        run_state = self._run_state
        epoch = first_epoch
        while True:
            waiting = time.perf_counter()
            for batches in self._feed.batches(self._feed.plan(epoch)):
                self.captioner.train_mode()
                started = time.perf_counter()
                self._stepper.step(batches, run_state.state)
                self.hardware.synchronize()
                ended = time.perf_counter()
                run_state.count_step(seconds=ended - started, images=0)
                yield TimedStep(
                    images=sum(len(batch.image_ids) for batch in batches),
                    captions=sum(batch.num_captions for batch in batches),
                    wait_seconds=started - waiting,
                    step_seconds=ended - started,
                )
                waiting = time.perf_counter()
            epoch += 1

    def read_epoch(self, epoch: int) -> tuple[int, float]:
        """Read an epoch's batches without training; return the number of images and the seconds."""
        started = time.perf_counter()
        batches = (b for step in self._feed.batches(self._feed.plan(epoch)) for b in step)
        images = sum(len(batch.image_ids) for batch in batches)
        return images, time.perf_counter() - started

    def sample_batch(self) -> CaptionBatch:
        """Return a full micro batch of median row length, on the CPU.

        Raises:
            DataError: None of its images can be read.
        """
        lengths = self._feed.data.row_lengths
        micros = [micro for plan in self._feed.plan(0) for micro in plan.micro_batches]
        largest = max(map(len, micros))
        full = [micro for micro in micros if len(micro) == largest]
        full.sort(key=lambda micro: max(lengths[index] for index in micro))
        return read_micro_batch(self._feed, full[len(full) // 2])

    def pass_once(self, batch: CaptionBatch) -> None:
        """Run a forward and backward pass and drop its gradients."""
        self.captioner.train_mode()
        with self.hardware.autocast():
            loss = self.captioner.loss(batch.to(self.hardware.device))
        torch.autograd.backward(loss.loss_sum)
        self.captioner.model.zero_grad(set_to_none=True)

    @property
    def failures(self) -> dict[str, str]:
        """Reasons by id of the images that could not be read."""
        return self._feed.failures


@contextmanager
def open_trial(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    *,
    recipe: Recipe,
    folder: Path,
    say: Say,
) -> Iterator[Trial]:
    """Set up a training as `train` does, but without validation images.

    Args:
        captioner: The model, with its parts frozen; its weights will change.
        records: Training images.
        recipe: All settings.
        folder: Folder for the feature cache and the run's lock.
        say: Called with each progress message.

    Raises:
        DataError: No image has a caption, or a frozen vision part cannot read one.
        ModelError: The optimizer's moments do not fit in memory.
    """
    with launched(recipe, folder) as launch:
        started = time.perf_counter()
        start = start_run(
            captioner, (records, ()), recipe=recipe, run_folder=folder, launch=launch, say=say
        )
        yield Trial(
            captioner=captioner,
            hardware=start.hardware,
            setup_seconds=time.perf_counter() - started,
            steps_per_epoch=start.run_state.steps_per_epoch,
            trained_parameters=sum(p.numel() for _, p in captioner.named_trainable()),
            _feed=start.feed,
            _stepper=make_stepper(start, launch),
            _run_state=start.run_state,
        )
