"""One optimizer step: its micro batches forward and backward, one sum over processes, one update.

When memory runs out the micro batches are halved and the step is done again: the step's images,
and so its gradient, stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator

from captune.errors import ModelError
from captune.hardware import Hardware, free_cached_memory, is_out_of_memory
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionBatch
from captune.training.batches.feeding import drop_words
from captune.training.checkpoint import TrainState
from captune.training.steps.optimizer import AveragedWeights, learning_rate, set_learning_rate


@dataclass(frozen=True, slots=True)
class Stepper:
    """Does optimizer steps.

    Attributes:
        captioner: Trained in place.
        recipe: Every setting.
        hardware: Device and precision.
        accelerator: Processes, loss scaling and clipping.
        optimizer: Prepared by the accelerator.
        average: Averaged weights, updated at each step; `None`: not kept.
        total_steps: Steps of the whole run, for the schedule.
        say: Takes lines for people.
    """

    captioner: Captioner
    recipe: Recipe
    hardware: Hardware
    accelerator: Accelerator
    optimizer: Any
    average: AveragedWeights | None
    total_steps: int
    say: Callable[[str], None]

    def step(self, batches: Sequence[CaptionBatch], state: TrainState) -> float:
        """One update from a step's micro batches; returns the gradients' norm.

        Args:
            batches: This process's share of the step, on the CPU.
            state: Its sums, and how often micro batches are halved, are kept up to date.

        Raises:
            ModelError: A single image does not fit into memory.
        """
        while True:
            parts = [p for batch in batches for p in _split_batch(batch, state.splits)]
            try:
                return self._update(parts, state)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(max(len(part.image_ids) for part in parts), state)

    def _halve(self, largest: int, state: TrainState) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        free_cached_memory(self.hardware.device)
        if largest <= 1:
            raise ModelError(
                "one image with its captions does not fit into memory",
                where="train.micro_batch_size",
                fix="set data.max_captions or data.max_caption_tokens lower, use"
                " train.gradient_checkpointing: true, or freeze more with model.freeze",
            )
        state.splits += 1
        self.say(
            f"out of memory: micro batches halved to {math.ceil(largest / 2)} images,"
            " accumulation doubled; the optimizer step stays the same"
        )

    def _update(self, batches: Sequence[CaptionBatch], state: TrainState) -> float:
        settings = self.recipe.train
        num_tokens = self._sum(sum(batch.num_label_tokens for batch in batches))
        step_loss = 0.0
        for number, batch in enumerate(batches):
            inputs = self._drop_words(batch, (state.step, number)).to(self.hardware.device)
            with self.hardware.autocast():
                loss = self.captioner.loss(inputs, settings.label_smoothing)
            self.accelerator.backward(loss.loss_sum / num_tokens)
            step_loss += float(loss.loss_sum.detach())
        parameters = [p for _, p in self.captioner.named_trainable()]
        self._sum_gradients(parameters)
        norm = self.accelerator.clip_grad_norm_(parameters, settings.max_grad_norm or math.inf)
        rate = learning_rate(state.step, self.total_steps, train=settings)
        set_learning_rate(self.optimizer, rate)
        # accelerate keeps this for the whole process: after a Trainer that stopped inside an
        # accumulation, every step of this run would do nothing.
        self.accelerator.sync_gradients = True
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(state.step)
        state.loss_sum += self._sum(step_loss)
        state.loss_tokens += int(num_tokens)
        return float(norm)

    def _drop_words(self, batch: CaptionBatch, place: tuple[int, int]) -> CaptionBatch:
        unknown = self.captioner.tokenizer.unk_token_id
        return drop_words(
            batch,
            self.recipe.train.word_dropout,
            unknown_id=self.captioner.pad_token_id if unknown is None else unknown,
            seed=(self.recipe.seed, *place, self.accelerator.process_index),
        )

    def _sum(self, value: float) -> float:
        if self.accelerator.num_processes == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(tensor, "sum"))

    def _sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        if self.accelerator.num_processes == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        flat = self.accelerator.reduce(flat, "sum")
        sizes = [p.numel() for p in parameters]
        for parameter, gradient in zip(parameters, flat.split(sizes), strict=True):
            # In the weight's own order in memory: fused AdamW on CPU takes the two for alike.
            parameter.grad = torch.empty_like(parameter).copy_(gradient.view_as(parameter))


def _split_batch(batch: CaptionBatch, times: int) -> Iterator[CaptionBatch]:
    """A batch cut into 2 ** times batches of about equal size; single images stay whole."""
    size = max(1, math.ceil(len(batch.image_ids) / 2**times))
    if size >= len(batch.image_ids):
        yield batch
        return
    for start in range(0, len(batch.image_ids), size):
        rows = slice(start, start + size)
        yield replace(
            batch,
            image_ids=batch.image_ids[rows],
            input_ids=batch.input_ids[rows],
            position_ids=batch.position_ids[rows],
            caption_ids=batch.caption_ids[rows],
            labels=batch.labels[rows],
            pixel_values=None if batch.pixel_values is None else batch.pixel_values[rows],
            vision_features=None if batch.vision_features is None else batch.vision_features[rows],
        )
