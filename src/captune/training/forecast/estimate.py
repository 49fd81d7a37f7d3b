"""Estimates of a training's time and memory, from measured passes.

Passes over the run's own images on its device are more accurate than any formula. Nothing is
written and no weight changes.
"""

from __future__ import annotations

import sys
import time
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from captune.errors import DataError
from captune.hardware import Hardware, choose_hardware
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionBatch, CaptionRecord
from captune.training.batches.features import choose_storage
from captune.training.batches.feeding import Feed, tokenize_records
from captune.training.batches.planning import (
    StepPlan,
    find_largest_micro_batch,
    find_largest_step,
)
from captune.training.forecast.memory import (
    ROUNDS,
    MemoryPlan,
    measure_training_pass,
    plan_memory,
    read_weights,
    resident_bytes,
)
from captune.training.notices import find_doubts, warn_of_few_steps
from captune.training.setup import count_steps, place_captioner, require_images

_WARM_UP_IMAGES = 2


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """Figures for a training, in the order in which they are known: each next one takes longer.

    Attributes:
        hardware: Device and precision.
        steps: Optimizer steps in the run.
        images: Training images with captions.
        parameters: Description of the trained parameters in one line.
        doubts: Warnings about settings that look like mistakes.
    """

    hardware: Hardware
    steps: int
    images: int
    parameters: str
    doubts: tuple[str, ...]
    _subject: _Subject
    _micros_per_step: float

    def measure_memory(self) -> MemoryPlan:
        """Return the predicted memory, from small passes: seconds, or minutes on CPUs."""
        is_cpu = self.hardware.device.type == "cpu"
        return _plan_on_cpu(self._subject) if is_cpu else self._subject.plan_memory()

    def measure_checkpointing(self, plan: MemoryPlan) -> MemoryPlan | None:
        """Return the predicted memory with gradient checkpointing; `None` if the plan has it."""
        if self._subject.recipe.train.gradient_checkpointing:
            return None
        return self._subject.plan_with_checkpointing(plan)

    def measure_time(self, plan: MemoryPlan, *, memory: int | None = None) -> TrainingTime:
        """Return the time, from passes over a micro batch: the slowest of the measurements.

        Args:
            plan: The predicted memory.
            memory: Bytes that the passes may use. `None`: the memory of the device.
        """
        limit = memory or self.hardware.memory_bytes or plan.peak
        timed = _fitting_images(plan, limit, self._subject.batch)
        encode_seconds, micro_seconds = self._subject.time_passes(timed)
        return TrainingTime(
            steps=self.steps,
            step_seconds=micro_seconds * self._micros_per_step,
            encode_seconds=encode_seconds,
        )


@dataclass(frozen=True, slots=True)
class TrainingTime:
    """The time of a training, from measured passes.

    Attributes:
        steps: Optimizer steps in the run.
        step_seconds: Seconds per optimizer step.
        encode_seconds: Seconds to encode all images for the feature cache; 0 without one.
    """

    steps: int
    step_seconds: float
    encode_seconds: float

    @property
    def seconds(self) -> float:
        """Seconds of the whole training, without validations."""
        return self.encode_seconds + self.steps * self.step_seconds


def estimate_training(
    captioner: Captioner, records: Sequence[CaptionRecord], *, recipe: Recipe, folder: Path
) -> TrainingEstimate:
    """Prepare the estimate of a training over images of the run; its methods measure passes.

    Args:
        captioner: The model, with its parts frozen; moved to the device.
        records: Training images.
        recipe: All settings.
        folder: An existing folder on the disk that would hold the feature cache.

    Raises:
        DataError: No training image has a caption, or no image of the measured micro batch can be
            read.
    """
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    place_captioner(captioner, recipe, hardware=hardware)
    feed = Feed(
        captioner, tokenize_records(captioner, records, recipe=recipe), recipe, recipe.data.views
    )
    require_images(feed)
    plans = feed.plan(0)
    steps = count_steps(recipe.train, len(plans))
    lengths = feed.data.row_lengths
    largest = find_largest_micro_batch(find_largest_step(plans, lengths), lengths)
    batch = read_micro_batch(feed, largest.micro_batches[0])
    rows = len(records) * len(recipe.data.views)
    storage = _choose_storage(captioner, recipe, rows=rows, folder=folder)
    return TrainingEstimate(
        hardware=hardware,
        steps=steps,
        images=len(feed.data.records),
        parameters=captioner.describe_parameters(),
        doubts=(*find_doubts(recipe.train, steps), *warn_of_few_steps(recipe, steps)),
        _subject=_Subject(captioner, recipe, hardware, batch, rows, storage),
        _micros_per_step=sum(len(plan.micro_batches) for plan in plans) / len(plans),
    )


def _plan_on_cpu(subject: _Subject) -> MemoryPlan:
    """Return the plan with the memory of the process and its libraries, which share the CPU's."""
    _import_trackers(subject.recipe)
    read_weights(subject.captioner)
    resident = resident_bytes(subject.hardware)
    # Before passes are traced: the profiler's own objects would break up the heap.
    num_images = subject.warm_up()
    grown = resident_bytes(subject.hardware) - resident
    plan = subject.plan_memory()
    return replace(
        plan,
        process=max(0, resident - plan.weights),
        libraries=max(0, grown - plan.heap_of_passes(num_images)),
        keeps_freed=sys.platform == "linux",
    )


def _import_trackers(recipe: Recipe) -> None:
    """Import what the trackers of the run import, which takes memory too."""
    if "tensorboard" in recipe.train.trackers:
        with suppress(ImportError):
            import_module("torch.utils.tensorboard")


def _fitting_images(plan: MemoryPlan, limit: int, batch: CaptionBatch) -> int:
    """Return how many images of a micro batch can be timed within the memory."""
    sizes = range(1, len(batch.image_ids) + 1)
    return max(1, bisect_right(sizes, limit, key=plan.peak_of))


@dataclass(slots=True)
class _Subject:
    """The subject of the measurements: a captioner, and a micro batch with pixels on the CPU."""

    captioner: Captioner
    recipe: Recipe
    hardware: Hardware
    batch: CaptionBatch
    num_rows: int
    storage: str

    def plan_memory(self) -> MemoryPlan:
        """See `plan_memory`."""
        cached = None
        if self.storage != "off":
            features = self._with_features(self.batch.rows(slice(0, 1)))
            row = features.vision_features
            size = 0 if row is None else 2 * row.numel() * self.num_rows
            kept = size if self.storage == "memory" else 0
            cached = (self._with_features(self.batch), kept)
        return plan_memory(
            self.captioner, self.batch, recipe=self.recipe, hardware=self.hardware, cached=cached
        )

    def plan_with_checkpointing(self, plan: MemoryPlan) -> MemoryPlan:
        """Return the plan with gradient checkpointing, which is turned off afterwards."""
        batch = self.batch if self.storage == "off" else self._with_features(self.batch)
        self.captioner.enable_gradient_checkpointing()
        try:
            measure = partial(
                measure_training_pass,
                *(self.captioner, batch),
                recipe=self.recipe,
                hardware=self.hardware,
            )
            first = None if plan.first is None else measure(is_first=True)
            training = measure()
        finally:
            with warnings.catch_warnings():
                # The new name of the method is younger than the oldest transformers supported.
                warnings.simplefilter("ignore", FutureWarning)
                self.captioner.model.gradient_checkpointing_disable()
        return replace(plan, training=training, first=first)

    def warm_up(self) -> int:
        """Run the passes that `MemoryPlan.heap_of_passes` places; return their number of images."""
        batch = self.batch.rows(slice(0, _WARM_UP_IMAGES))
        for _ in range(ROUNDS if self.storage != "off" else 0):
            self._encode(batch)
        if self.storage != "off":
            batch = self._with_features(batch)
        for _ in range(ROUNDS):
            self._pass(batch)
        return len(batch.image_ids)

    def time_passes(self, num_images: int) -> tuple[float, float]:
        """Return the seconds to encode all images, and the seconds of a micro batch.

        Args:
            num_images: Images that fit in memory; the time of a larger micro batch is extrapolated.
        """
        batch = self.batch.rows(slice(0, num_images))
        encode_seconds = 0.0
        if self.storage != "off":
            seconds = _time_twice(lambda: self._encode(batch), self.hardware)
            encode_seconds = seconds / num_images * self.num_rows
            batch = self._with_features(batch)
        # One more pass: the heap grows until its pieces fit the tensors.
        self._pass(batch)
        pass_seconds = _time_twice(lambda: self._pass(batch), self.hardware)
        return encode_seconds, pass_seconds * len(self.batch.image_ids) / num_images

    def _with_features(self, batch: CaptionBatch) -> CaptionBatch:
        features = self._encode(batch).float().cpu().clone()
        return replace(batch, vision_inputs=None, vision_features=features)

    def _encode(self, batch: CaptionBatch) -> torch.Tensor:
        if batch.vision_inputs is None:
            raise ValueError("a decoded batch has vision inputs")
        with torch.inference_mode(), self.hardware.autocast():
            return self.captioner.encode_frozen(batch.vision_inputs.to(self.hardware.device))

    def _pass(self, batch: CaptionBatch) -> None:
        self.captioner.train_mode()
        with self.hardware.autocast():
            inputs = batch.to(self.hardware.device)
            loss = self.captioner.loss(inputs, self.recipe.train.label_smoothing)
        torch.autograd.backward(loss.loss_sum)
        self.captioner.model.zero_grad(set_to_none=True)


def read_micro_batch(feed: Feed, micro: tuple[int, ...]) -> CaptionBatch:
    """Return one micro batch on the CPU, without images that cannot be read.

    Raises:
        DataError: None of its images can be read.
    """
    step = next(feed.batches([StepPlan(0, (micro,))]))
    if not step:
        image_id, reason = next(iter(feed.failures.items()))
        raise DataError(
            f"no image of the first micro batch can be read; {image_id!r}: {reason}",
            where="data",
            fix="check the data set with: captune data check DATA",
        )
    return step[0]


def _choose_storage(captioner: Captioner, recipe: Recipe, *, rows: int, folder: Path) -> str:
    settings = recipe.train
    return choose_storage(
        settings.feature_cache, captioner, num_rows=rows, epochs=settings.epochs, folder=folder
    )


def _time_twice(work: Callable[[], object], hardware: Hardware) -> float:
    """Return the seconds of the second of two runs: the first one warms up."""
    work()
    hardware.synchronize()
    started = time.perf_counter()
    work()
    hardware.synchronize()
    return time.perf_counter() - started
