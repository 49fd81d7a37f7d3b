"""The memory plan of a training: its predicted peak, and the micro batch that fits in memory.

Weights, gradients, moments and averages are counted; passes are measured with one and two images
of the run. On CPUs the peak is that of the process's resident memory.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import torch

from captune.hardware import Hardware
from captune.inference import generate
from captune.models import Captioner, fast_stages, fold_batch_norms, inference_form
from captune.recipe import Recipe
from captune.records import CaptionBatch, VisionInputs
from captune.suggest import format_memory
from captune.training.forecast.allocations import PassMemory, measure_pass
from captune.training.forecast.heap import Heap

_ENCODED_AT_ONCE = 32
"""Images per pass when the feature cache is filled."""

ROUNDS = 2
"""Repetitions of each pass, after which freed memory is in as small pieces as it gets."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The predicted memory of a training, in bytes.

    Attributes:
        process: The process without a model; 0 on accelerators, whose memory it does not occupy.
        weights: Parameters and buffers.
        trained: Bytes of each trained weight.
        has_average: Whether there are averaged weights; a copy of the trained ones takes as much
            during validation.
        accumulates: Whether gradients are kept between micro batches.
        features: Features cached in memory.
        training: Forward and backward pass of a micro batch.
        encoding: A pass that fills the feature cache, before the optimizer exists; `None`: there is
            no cache.
        validation: Captioning a batch of validation images, with the weights copied for it.
        micro_batch_size: Micro batch size of the recipe, in images.
        validation_batch_size: Validation images per pass.
        libraries: Memory of threads, kernels and buffers that is not the tensors'.
        keeps_freed: Whether the process keeps freed memory, as on Linux CPUs.
        first: The pass of a step's first micro batch, which leaves its gradients wherever in the
            heap they were made; `None`: no gradients are kept.
    """

    process: int
    weights: int
    trained: tuple[int, ...]
    has_average: bool
    accumulates: bool
    features: int
    training: PassMemory
    encoding: PassMemory | None
    validation: PassMemory
    micro_batch_size: int
    validation_batch_size: int
    libraries: int = 0
    keeps_freed: bool = False
    first: PassMemory | None = None

    @property
    def optimizer(self) -> int:
        """Bytes of AdamW's two moments per trained weight."""
        return 2 * sum(self.trained)

    @property
    def average(self) -> int:
        """Bytes of the averaged weights."""
        return sum(self.trained) if self.has_average else 0

    @property
    def gradients(self) -> int:
        """Bytes of the gradients kept between micro batches."""
        return sum(self.trained) if self.accumulates else 0

    @property
    def peak(self) -> int:
        """Bytes at the peak with the recipe's micro batch size."""
        return self.peak_of(self.micro_batch_size)

    def peak_of(self, micro_batch_size: int) -> int:
        """Return the bytes at the peak with another micro batch size."""
        fixed = self.process + self.libraries + self.weights
        if self.keeps_freed:
            return fixed + self._heap_length(micro_batch_size)
        state = self.optimizer + self.average
        encoding = self.encoding.peak(_ENCODED_AT_ONCE) if self.encoding else 0
        passes = max(
            encoding,
            state + self.gradients + self.training.peak(micro_batch_size),
            state + self.average + self.validation.peak(self.validation_batch_size),
        )
        return fixed + self.features + passes

    def _heap_length(self, micro_batch_size: int) -> int:
        """Return the length of the heap after everything that a training does, in its order."""
        heap = Heap()
        if self.encoding:
            for _ in range(ROUNDS):
                self.encoding.place(heap, _ENCODED_AT_ONCE)
        heap.allocate(self.features)
        if self.has_average:
            heap.allocate_all(self.trained)
        # The optimizer's moments are allocated by an empty step with gradients.
        gradients = heap.allocate_all(self.trained)
        for size in self.trained:
            heap.allocate_all((size, size))
        heap.release_all(gradients)
        for _ in range(ROUNDS):
            for _ in range(ROUNDS):
                gradients = []
                if self.first is not None:
                    gradients = self.first.place_kept(heap, micro_batch_size)
                self.training.place(heap, micro_batch_size)
                heap.release_all(gradients)
            own = heap.allocate_all(self.trained if self.has_average else ())
            self.validation.place(heap, self.validation_batch_size)
            heap.release_all(own)
        return heap.length

    def heap_of_passes(self, num_images: int) -> int:
        """Return the length of a heap after passes over `num_images` images."""
        heap = Heap()
        passes = [self.training] if self.encoding is None else [self.encoding, self.training]
        for measured in passes:
            for _ in range(ROUNDS):
                measured.place(heap, num_images)
        return heap.length

    def largest_fit(self, memory: int, *, global_batch_size: int) -> int:
        """Return the largest micro batch size that fits and divides the global one, else 0."""
        sizes = [n for n in range(1, global_batch_size + 1) if global_batch_size % n == 0]
        num_fitting = bisect_right(sizes, memory, key=self.peak_of)
        return sizes[num_fitting - 1] if num_fitting else 0

    def describe(self) -> str:
        """Return the peak and its largest parts in one line."""
        parts = {
            "process": self.process,
            "libraries": self.libraries,
            "weights": self.weights,
            "optimizer": self.optimizer,
            "averages": self.average,
            "waiting gradients": self.gradients,
            "cached features": self.features,
            f"a micro batch of {self.micro_batch_size}": self.training.peak(self.micro_batch_size),
            "encoding": self.encoding.peak(_ENCODED_AT_ONCE) if self.encoding else 0,
            "validation": self.validation.peak(self.validation_batch_size),
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
    learned = batch if cached is None else cached[0]
    settings = recipe.train
    accumulates = settings.global_batch_size > settings.micro_batch_size
    first = None
    if accumulates:
        first = measure_training_pass(
            captioner, learned, recipe=recipe, hardware=hardware, is_first=True
        )
    return MemoryPlan(
        process=0,
        weights=_count_bytes(captioner),
        trained=tuple(p.numel() * p.element_size() for _, p in captioner.named_trainable()),
        has_average=bool(settings.ema_decay),
        accumulates=accumulates,
        features=0 if cached is None else cached[1],
        training=measure_training_pass(captioner, learned, recipe=recipe, hardware=hardware),
        encoding=None if cached is None else _encoding(captioner, batch, hardware=hardware),
        validation=_validation(captioner, learned, recipe=recipe, hardware=hardware),
        micro_batch_size=settings.micro_batch_size,
        validation_batch_size=recipe.evaluate.batch_size,
        first=first,
    )


def measure_training_pass(
    captioner: Captioner,
    batch: CaptionBatch,
    *,
    recipe: Recipe,
    hardware: Hardware,
    is_first: bool = False,
) -> PassMemory:
    """Return the memory of forward and backward passes over images like the batch's longest row.

    Args:
        captioner: The model on its device, set up for training; its gradients are dropped.
        batch: Images with pixels or features, on the CPU.
        recipe: Its batch sizes decide whether gradients are kept between micro batches.
        hardware: Device and precision.
        is_first: Measure the first micro batch of a step, which makes the gradients that are kept.
    """
    settings = recipe.train
    waits = settings.global_batch_size > settings.micro_batch_size

    def run(count: int) -> None:
        captioner.train_mode()
        if is_first:
            captioner.model.zero_grad(set_to_none=True)
        with hardware.autocast():
            loss = captioner.loss(_repeat(batch, count).to(hardware.device))
        torch.autograd.backward(loss.loss_sum)
        if not waits:
            captioner.model.zero_grad(set_to_none=True)

    try:
        return measure_pass(run, hardware)
    finally:
        captioner.model.zero_grad(set_to_none=True)


def read_weights(captioner: Captioner) -> None:
    """Read every weight: those that are mapped from a file are not resident before."""
    for tensor in _tensors(captioner):
        tensor.detach().sum()


def resident_bytes(hardware: Hardware) -> int:
    """Return the resident bytes of this process, or its peak if the system has no current value."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return hardware.peak_memory()
    import resource

    return pages * resource.getpagesize()


def _encoding(captioner: Captioner, batch: CaptionBatch, *, hardware: Hardware) -> PassMemory:
    def run(count: int) -> None:
        inputs = _repeat(batch, count).vision_inputs
        if inputs is None:
            raise ValueError("a decoded batch has vision inputs")
        captioner.eval_mode()
        stages = fast_stages(fold_batch_norms(captioner.frozen_vision_stages()), hardware.dtype)
        with torch.inference_mode(), hardware.autocast():
            captioner.encode_frozen(inputs.to(hardware.device), stages=stages)

    return measure_pass(run, hardware, has_graph=False)


def _validation(
    captioner: Captioner, batch: CaptionBatch, *, recipe: Recipe, hardware: Hardware
) -> PassMemory:
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
        with torch.inference_mode():
            with hardware.autocast():
                captioner.loss(own)
            form = inference_form(captioner, vision=hardware.dtype, text=hardware.dtype)
            generate(
                captioner,
                form.vision_states(own),
                image_ids=own.image_ids,
                config=config,
                backend=form.text,
            )

    return measure_pass(run, hardware, has_graph=False)


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
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(captioner))


def _tensors(captioner: Captioner) -> list[torch.Tensor]:
    return [*captioner.model.parameters(), *captioner.model.buffers()]
