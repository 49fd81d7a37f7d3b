"""Estimates of a training's time and memory, from one measured micro batch.

One forward and backward pass on the run's own batch and device is more accurate than any formula.
Nothing is written and no weight changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from captune.errors import DataError
from captune.hardware import Hardware, choose_hardware
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionBatch, CaptionRecord
from captune.training.batches.features import choose_storage
from captune.training.batches.feeding import Feed, tokenize_records
from captune.training.batches.planning import StepPlan
from captune.training.notices import find_doubts
from captune.training.setup import count_steps, place_captioner, require_images

_ADAMW_BYTES = 12
"""float32 gradient and two moments per trained parameter; its weight is measured."""


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """Figures for the whole training, from one measured micro batch.

    Attributes:
        hardware: Device and precision.
        steps: Optimizer steps in the run.
        images: Training images with captions.
        step_seconds: Seconds per optimizer step.
        encode_seconds: Seconds to encode all images for the feature cache; 0 without one.
        memory_bytes: Peak memory; 0 where the platform does not report it.
        parameters: The parameters that are trained, in one line.
        doubts: Warnings about settings that look like mistakes.
    """

    hardware: Hardware
    steps: int
    images: int
    step_seconds: float
    encode_seconds: float
    memory_bytes: int
    parameters: str
    doubts: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Seconds of the training, without its validations."""
        return self.encode_seconds + self.steps * self.step_seconds


def estimate_training(
    captioner: Captioner, records: Sequence[CaptionRecord], *, recipe: Recipe, folder: Path
) -> TrainingEstimate:
    """Measure one micro batch of the run.

    Args:
        captioner: With its parts frozen; moved to the device.
        records: Training images.
        recipe: Every setting.
        folder: An existing folder on the disk that would hold the feature cache.

    Raises:
        DataError: No training image has a caption, or no image of a micro batch can be read.
    """
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    place_captioner(captioner, recipe, hardware=hardware)
    feed = Feed(
        captioner, tokenize_records(captioner, records, recipe=recipe), recipe, recipe.data.views
    )
    require_images(feed)
    plans = feed.plan(0)
    steps = count_steps(recipe.train, len(plans))
    micro = max((m for m in plans[0].micro_batches), key=len)
    batch = read_micro_batch(feed, micro)
    rows = len(records) * len(recipe.data.views)
    encode_seconds = 0.0
    if _is_cached(captioner, recipe, rows=rows, folder=folder):
        batch, seconds = _encode(captioner, batch, hardware)
        encode_seconds = seconds / len(batch.image_ids) * rows
    micro_seconds = _time_twice(
        lambda: _pass(captioner, batch, recipe=recipe, hardware=hardware), hardware
    )
    micros = sum(len(plan.micro_batches) for plan in plans) / len(plans)
    peak = hardware.peak_memory()
    trainable = sum(parameter.numel() for _, parameter in captioner.named_trainable())
    return TrainingEstimate(
        hardware=hardware,
        steps=steps,
        images=len(feed.data.records),
        step_seconds=micro_seconds * micros,
        encode_seconds=encode_seconds,
        memory_bytes=peak and peak + _ADAMW_BYTES * trainable,
        parameters=captioner.describe_parameters(),
        doubts=tuple(find_doubts(recipe.train, steps)),
    )


def read_micro_batch(feed: Feed, micro: tuple[int, ...]) -> CaptionBatch:
    """Return one micro batch, on the CPU, without images that cannot be read.

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


def _is_cached(captioner: Captioner, recipe: Recipe, *, rows: int, folder: Path) -> bool:
    settings = recipe.train
    storage = choose_storage(
        settings.feature_cache, captioner, num_rows=rows, epochs=settings.epochs, folder=folder
    )
    return storage != "off"


def _encode(
    captioner: Captioner, batch: CaptionBatch, hardware: Hardware
) -> tuple[CaptionBatch, float]:
    """Return the batch with frozen features in place of pixels, and the seconds this took."""
    if batch.vision_inputs is None:
        raise ValueError("a decoded batch has vision inputs")
    inputs = batch.vision_inputs.to(hardware.device)

    def encode() -> torch.Tensor:
        with torch.inference_mode(), hardware.autocast():
            return captioner.encode_frozen(inputs)

    seconds = _time_twice(encode, hardware)
    features = encode().float().cpu().clone()
    return replace(batch, vision_inputs=None, vision_features=features), seconds


def _pass(captioner: Captioner, batch: CaptionBatch, *, recipe: Recipe, hardware: Hardware) -> None:
    captioner.train_mode()
    with hardware.autocast():
        loss = captioner.loss(batch.to(hardware.device), recipe.train.label_smoothing)
    torch.autograd.backward(loss.loss_sum)
    captioner.model.zero_grad(set_to_none=True)


def _time_twice(work: Callable[[], object], hardware: Hardware) -> float:
    """Return the seconds of the second of two runs: the first one warms up."""
    work()
    hardware.synchronize()
    started = time.perf_counter()
    work()
    hardware.synchronize()
    return time.perf_counter() - started
