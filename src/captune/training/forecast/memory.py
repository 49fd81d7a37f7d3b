"""The memory plan of a training: its predicted peak, and the micro batch that fits in memory.

Weights, gradients, moments and averages are counted; passes are measured with one and two images
of the run. On CPUs the peak is that of the process's resident memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from captune.hardware import Hardware
from captune.inference import generate
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionBatch, VisionInputs
from captune.suggest import format_memory
from captune.training.forecast.allocations import PassMemory, measure_pass

_ENCODED_AT_ONCE = 32
"""Images per pass when the feature cache is filled."""

_HEAP_SHARE = 1.7
"""Resident memory of a training pass on CPUs relative to its tensors, unless measured. Freed memory
stays in pieces that larger tensors do not fit into; 1.3 to 2.2 were measured (docs/log.md)."""

_HEAP_BOUNDS = (1.0, 3.0)

_IMPORTS = 400 << 20
"""Bytes of the process with torch and transformers imported."""

_CPU_START = 40 << 20
"""Bytes that threads, kernels and trackers add to the process after the model is built."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The predicted memory of a training, in bytes.

    Attributes:
        process: The process without a model; 0 on accelerators, whose memory it does not occupy.
        weights: Parameters and buffers.
        optimizer: AdamW's two moments per trained weight.
        average: Averaged weights; a copy of the trained ones takes as much during validation.
        gradients: Gradients kept between micro batches; 0 without accumulation.
        features: Features cached in memory.
        heap_share: Memory of a training pass relative to that of its tensors, a ratio.
        training: Forward and backward pass of a micro batch.
        encoding: Filling the feature cache, before the optimizer exists; 0 without a cache.
        validation: Captioning validation images.
        micro_batch_size: Micro batch size of the recipe, in images.
    """

    process: int
    weights: int
    optimizer: int
    average: int
    gradients: int
    features: int
    heap_share: float
    training: PassMemory
    encoding: int
    validation: int
    micro_batch_size: int

    @property
    def peak(self) -> int:
        """Bytes at the peak with the recipe's micro batch size."""
        return self.peak_of(self.micro_batch_size)

    def peak_of(self, micro_batch_size: int) -> int:
        """Return the bytes at the peak with another micro batch size."""
        state = self.optimizer + self.average
        passes = max(
            self.encoding,
            state + self.gradients + self.training.peak(micro_batch_size) * self.heap_share,
            state + self.average + self.validation,
        )
        return int(self.process + self.weights + self.features + passes)

    def with_process(self, resident: int) -> MemoryPlan:
        """Return the plan with the process; `resident` is its memory before the first pass."""
        # Weights that are mapped from their file but not read yet are not resident.
        return replace(self, process=max(_IMPORTS, resident - self.weights) + _CPU_START)

    def with_heap(self, grown: int, *, num_images: int) -> MemoryPlan:
        """Return the plan with the heap share of real passes, in which the process grew by `grown`.

        Args:
            grown: Bytes by which the process grew.
            num_images: Images per pass.
        """
        share = grown / max(1, self.training.peak(num_images))
        low, high = _HEAP_BOUNDS
        return replace(self, heap_share=min(high, max(low, share)))

    def largest_fit(self, memory: int, *, global_batch_size: int) -> int:
        """Return the largest micro batch size that fits and divides the global one, else 0."""
        sizes = (n for n in range(global_batch_size, 0, -1) if global_batch_size % n == 0)
        return next((size for size in sizes if self.peak_of(size) <= memory), 0)

    def describe(self) -> str:
        """Return the peak and its largest parts in one line."""
        parts = {
            "process": self.process,
            "weights": self.weights,
            "optimizer": self.optimizer,
            "averages": self.average,
            "waiting gradients": self.gradients,
            "cached features": self.features,
            f"a micro batch of {self.micro_batch_size}": self.training.peak(self.micro_batch_size),
            "encoding": self.encoding,
            "validation": self.validation,
        }
        listed = ", ".join(f"{name} {format_memory(size)}" for name, size in parts.items() if size)
        return f"about {format_memory(self.peak)} at the peak ({listed})"


def plan_memory(
    captioner: Captioner,
    batch: CaptionBatch,
    *,
    recipe: Recipe,
    hardware: Hardware,
    cached: tuple[CaptionBatch, int] | None,
) -> MemoryPlan:
    """Return the memory plan: small passes are measured and the rest is counted.

    The memory of the process itself is left 0; see `MemoryPlan.with_process`.

    Args:
        captioner: The model on its device, set up for training; its gradients are dropped.
        batch: Images with the longest rows of the run, with pixels, on the CPU.
        recipe: All settings.
        hardware: Device and precision.
        cached: The same images with frozen features, and the bytes of all features kept in memory;
            `None`: there is no feature cache.
    """
    trained = sum(p.numel() * p.element_size() for _, p in captioner.named_trainable())
    weights = _count_bytes(captioner)
    learned = batch if cached is None else cached[0]
    is_cpu = hardware.device.type == "cpu"
    settings = recipe.train
    waits = settings.global_batch_size > settings.micro_batch_size
    return MemoryPlan(
        process=0,
        weights=weights,
        optimizer=2 * trained,
        average=trained if settings.ema_decay else 0,
        gradients=trained if waits else 0,
        features=0 if cached is None else cached[1],
        heap_share=_HEAP_SHARE if is_cpu else 1.0,
        training=measure_training_pass(captioner, learned, recipe=recipe, hardware=hardware),
        encoding=0 if cached is None else _encoding(captioner, batch, hardware=hardware),
        validation=_validation(captioner, batch, recipe=recipe, hardware=hardware),
        micro_batch_size=settings.micro_batch_size,
    )


def measure_training_pass(
    captioner: Captioner, batch: CaptionBatch, *, recipe: Recipe, hardware: Hardware
) -> PassMemory:
    """Return the memory of forward and backward passes over images like the batch's longest row.

    Args:
        captioner: The model on its device, set up for training; its gradients are dropped.
        batch: Images with pixels or features, on the CPU.
        recipe: Its batch sizes decide whether gradients are kept between micro batches.
        hardware: Device and precision.
    """
    settings = recipe.train
    waits = settings.global_batch_size > settings.micro_batch_size

    def run(count: int) -> None:
        captioner.train_mode()
        with hardware.autocast():
            loss = captioner.loss(_repeat(batch, count).to(hardware.device))
        torch.autograd.backward(loss.loss_sum)
        if not waits:
            captioner.model.zero_grad(set_to_none=True)

    try:
        return measure_pass(run, hardware)
    finally:
        captioner.model.zero_grad(set_to_none=True)


def resident_bytes(hardware: Hardware) -> int:
    """Return the resident bytes of this process, or its peak if the system has no current value."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return hardware.peak_memory()
    import resource

    return pages * resource.getpagesize()


def _encoding(captioner: Captioner, batch: CaptionBatch, *, hardware: Hardware) -> int:
    def run(count: int) -> None:
        inputs = _repeat(batch, count).vision_inputs
        if inputs is None:
            raise ValueError("a decoded batch has vision inputs")
        captioner.eval_mode()
        with torch.inference_mode(), hardware.autocast():
            captioner.encode_frozen(inputs.to(hardware.device))

    return measure_pass(run, hardware).peak(_ENCODED_AT_ONCE)


def _validation(
    captioner: Captioner, batch: CaptionBatch, *, recipe: Recipe, hardware: Hardware
) -> int:
    """Return the memory of captioning; two tokens are enough to allocate all caches."""
    config = recipe.generate.model_copy(
        update={
            "num_beams": recipe.train.validate_beams,
            "do_sample": False,
            "max_new_tokens": 2,
            "min_new_tokens": 0,
        }
    )

    def run(count: int) -> None:
        own = _repeat(batch, count).to(hardware.device)
        captioner.eval_mode()
        with torch.inference_mode(), hardware.autocast():
            states = captioner.vision_states(own)
            generate(captioner, states, image_ids=own.image_ids, config=config)

    return measure_pass(run, hardware).peak(recipe.evaluate.batch_size)


def _repeat(batch: CaptionBatch, count: int) -> CaptionBatch:
    """Return a batch of `count` copies of the image with the longest row."""
    longest = int((batch.caption_ids >= 0).sum(dim=1).argmax())
    row = batch.rows(slice(longest, longest + 1))
    inputs, features = row.vision_inputs, row.vision_features
    return CaptionBatch(
        image_ids=row.image_ids * count,
        input_ids=row.input_ids.repeat(count, 1),
        position_ids=row.position_ids.repeat(count, 1),
        caption_ids=row.caption_ids.repeat(count, 1),
        labels=row.labels.repeat(count, 1),
        vision_inputs=None if inputs is None else VisionInputs.join([inputs] * count),
        vision_features=None if features is None else torch.cat([features] * count),
    )


def _count_bytes(captioner: Captioner) -> int:
    model = captioner.model
    tensors: Sequence[torch.Tensor] = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
