"""One optimizer step: its micro batches forward and backward, one sum over processes, one update.

When memory runs out in one process, all halve their micro batches and repeat the passes: the
step's images, and so its gradient, stay the same. The update itself is never repeated.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from captune.errors import ModelError
from captune.hardware import Hardware, free_cached_memory, has_limit, is_out_of_memory
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionBatch
from captune.suggest import format_count
from captune.training.batches.feeding import drop_words
from captune.training.checkpoint import TrainState, keeping_state
from captune.training.steps.divergence import refuse_divergence
from captune.training.steps.gradient_sum import GradientSum
from captune.training.steps.optimizer import AveragedWeights, learning_rate, set_learning_rate
from captune.training.steps.reduce import find_maxima, sum_numbers


@dataclass(frozen=True, slots=True)
class Stepper:
    """Runs optimizer steps.

    Attributes:
        captioner: The model, trained in place.
        recipe: All settings.
        hardware: Device and precision.
        accelerator: Processes, loss scaling and clipping.
        optimizer: The optimizer, prepared by the accelerator.
        average: Averaged weights, updated at each step; `None`: there are none.
        total_steps: Steps in the whole run, for the schedule.
        say: Called with each progress message.
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
        """Update the weights from a step's micro batches; return the gradients' norm.

        Args:
            batches: This process's share of the step, on the CPU.
            state: State of the training, whose sums and `splits` are updated.

        Raises:
            ModelError: A single image or the update does not fit in memory, or the loss is not a
                number.
        """
        own = sum(batch.num_label_tokens for batch in batches)
        (num_tokens,) = sum_numbers([own], device=self.accelerator.device)
        losses = self._pass_all(batches, state, num_tokens=num_tokens)
        norm, *own_losses = _read([self._update(state.step), *losses])
        (step_loss,) = sum_numbers([sum(own_losses)], device=self.accelerator.device)
        scaler = self.accelerator.scaler
        refuse_divergence(step_loss, step=state.step, train=self.recipe.train, scaler=scaler)
        state.loss_sum += step_loss
        state.loss_tokens += int(num_tokens)
        return norm

    def rehearse(self, batch: CaptionBatch, state: TrainState) -> None:
        """Run the passes of a step's largest micro batch and drop the gradients.

        So a lack of memory shows before the first step instead of hours later. All processes must
        call this. Weights, buffers and random states stay unchanged.

        Args:
            batch: The largest micro batch that this process will get, on the CPU.
            state: State of the training, whose `splits` is updated.

        Raises:
            ModelError: A single image does not fit in memory.
        """
        train = self.recipe.train
        batches = [batch]
        if train.global_batch_size > train.micro_batch_size:
            # The gradients of a first image take memory while the largest micro batch is computed.
            batches.insert(0, batch.rows(slice(0, 1)))
        with keeping_state(self.captioner):
            self.captioner.train_mode()
            self._pass_all(batches, state, num_tokens=1.0)
            self._drop_gradients()

    def _pass_all(
        self, batches: Sequence[CaptionBatch], state: TrainState, *, num_tokens: float
    ) -> list[torch.Tensor]:
        """Compute the gradients, summed over all processes; return the losses of this one."""
        while True:
            parts = [p for batch in batches for p in _split_batch(batch, state.splits)]
            sums = GradientSum(self._parameters())
            losses = self._backward(parts, sums, num_tokens=num_tokens, step=state.step)
            largest = max((len(part.image_ids) for part in parts), default=0)
            if self._fits_everywhere(losses is not None, largest, state, sums=sums):
                return losses or []

    def _backward(
        self, parts: Sequence[CaptionBatch], sums: GradientSum, *, num_tokens: float, step: int
    ) -> list[torch.Tensor] | None:
        """Add the gradients of this process's share; return its losses, `None`: out of memory."""
        losses = []
        try:
            for number, part in enumerate(parts, start=1):
                inputs = self._drop_words(part, step).to(self.hardware.device)
                with self.hardware.autocast():
                    loss = self.captioner.loss(inputs, self.recipe.train.label_smoothing)
                scaled = self._scaled(loss.loss_sum / max(1.0, num_tokens))
                with sums.during_backward() if number == len(parts) else nullcontext():
                    torch.autograd.backward(scaled)
                losses.append(loss.loss_sum.detach())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return losses
        # Outside `except`: the error would hold the tensors of the failed pass.
        self._drop_gradients()
        free_cached_memory(self.hardware.device)
        return None

    def _scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Scale the loss for fp16.

        `Accelerator.backward` would divide it by ACCELERATE_GRADIENT_ACCUMULATION_STEPS.
        """
        scaler = self.accelerator.scaler
        return loss if scaler is None else scaler.scale(loss)

    def _fits_everywhere(
        self, fits: bool, largest: int, state: TrainState, *, sums: GradientSum
    ) -> bool:
        """Return whether no process ran out of memory; if one did, all halve their micro batches.

        A process that ran out of memory sends all its buckets first: if it tried again alone, it
        would join a different collective than the others.
        """
        device = self.accelerator.device
        lack = 0 if fits else 2 if largest <= 1 else 1
        lack, largest, *used = find_maxima([lack, largest, *sums.finish()], device=device)
        if lack:
            self._halve(largest, state, is_single=lack > 1)
            return False
        for parameter, is_used in zip(self._parameters(), used, strict=True):
            if not is_used:
                # As with one process, a weight that no process used has no gradient.
                parameter.grad = None
        return True

    def _halve(self, largest: int, state: TrainState, *, is_single: bool) -> None:
        self._drop_gradients()
        free_cached_memory(self.hardware.device)
        if is_single:
            start = (
                "start with a smaller train.micro_batch_size, as memory freed by larger ones still"
                " counts against this process's limit (ulimit); or "
            )
            raise ModelError(
                "one image with its captions does not fit into memory",
                where="train.micro_batch_size",
                fix=f"{start if has_limit() else ''}set data.max_captions or"
                " data.max_caption_tokens lower, use train.gradient_checkpointing: true, or freeze"
                " more with model.freeze",
            )
        state.splits += 1
        self.say(
            "out of memory: micro batches halved to"
            f" {format_count(math.ceil(largest / 2), 'image')},"
            " accumulation doubled; the optimizer step stays the same"
        )

    def _update(self, step: int) -> torch.Tensor:
        """Update the weights from the summed gradients; return the gradients' norm."""
        settings, parameters = self.recipe.train, self._parameters()
        if all(parameter.grad is None for parameter in parameters):
            # No image of the step could be read.
            return torch.zeros((), device=self.hardware.device)
        if self.accelerator.scaler is not None:
            # The scaler is created by the first loss, and a process without a share has none.
            self.accelerator.scaler.scale(torch.zeros((), device=self.hardware.device))
        norm = self.accelerator.clip_grad_norm_(parameters, settings.max_grad_norm or math.inf)
        rate = learning_rate(step, self.total_steps, train=settings)
        set_learning_rate(self.optimizer, rate)
        # accelerate keeps this for the whole process: after a Trainer that stopped during
        # accumulation, no step of this run would have an effect.
        self.accelerator.sync_gradients = True
        self.optimizer.step()
        self._drop_gradients()
        if self.average is not None:
            self.average.update(step)
        return torch.as_tensor(norm)

    def _drop_gradients(self) -> None:
        """Drop the gradients; the prepared optimizer would keep them after a stopped Trainer."""
        for parameter in self._parameters():
            parameter.grad = None

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for _, parameter in self.captioner.named_trainable()]

    def _drop_words(self, batch: CaptionBatch, step: int) -> CaptionBatch:
        unknown = self.captioner.tokenizer.unk_token_id
        return drop_words(
            batch,
            self.recipe.train.word_dropout,
            unknown_id=self.captioner.pad_token_id if unknown is None else unknown,
            seed=(self.recipe.seed, step),
        )


def _read(numbers: Sequence[torch.Tensor]) -> list[float]:
    """Return the values of scalars on one device, synchronizing with it only once."""
    widest = functools.reduce(torch.promote_types, (number.dtype for number in numbers))
    found: list[float] = torch.stack([number.detach().to(widest) for number in numbers]).tolist()
    return found


def _split_batch(batch: CaptionBatch, times: int) -> Iterator[CaptionBatch]:
    """Split a batch into 2 ** times batches of about equal size; single images stay whole."""
    size = max(1, math.ceil(len(batch.image_ids) / 2**times))
    if size >= len(batch.image_ids):
        yield batch
        return
    for start in range(0, len(batch.image_ids), size):
        yield batch.rows(slice(start, start + size))
