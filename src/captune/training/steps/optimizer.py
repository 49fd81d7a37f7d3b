"""AdamW's parameter groups, the learning-rate schedule, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from captune.errors import ModelError
from captune.hardware import is_out_of_memory
from captune.models import Captioner
from captune.recipe import TrainConfig


class GuardedAdamW(torch.optim.AdamW):
    """AdamW that turns running out of memory into an error that is not retried.

    Some groups may be updated by then, and a second try would update them again.
    """

    @override
    def step(self, closure: Any = None) -> Any:
        """Run AdamW's step.

        Raises:
            ModelError: Memory ran out.
        """
        try:
            return super().step(closure)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                "memory ran out during the update of the weights, and some may have changed",
                where="train",
                fix="resume from the last checkpoint with --resume, and with a smaller"
                " train.micro_batch_size or more parts in model.freeze",
            ) from error


def make_optimizer(captioner: Captioner, train: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW for the trained parameters; vectors (biases, norms) get no weight decay.

    Each group has an `lr_scale`: its rate is the schedule's times this.

    Raises:
        ModelError: Its two moments per weight do not fit in memory.
    """
    vision_decay = train.vision_weight_decay
    if vision_decay is None:
        vision_decay = train.weight_decay
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in captioner.named_trainable():
        key = (captioner.is_vision_parameter(name), parameter.ndim >= 2)
        groups.setdefault(key, []).append(parameter)
    optimizer = GuardedAdamW(
        [
            {
                "params": parameters,
                "lr_scale": train.vision_lr_scale if is_vision else 1.0,
                "weight_decay": (vision_decay if is_vision else train.weight_decay) * is_matrix,
            }
            for (is_vision, is_matrix), parameters in groups.items()
        ],
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        fused=True,
    )
    _allocate_moments(optimizer)
    return optimizer


def _allocate_moments(optimizer: torch.optim.AdamW) -> None:
    """Allocate the moments now with an empty step, so that no later step runs out of memory there.

    A step that fails halfway cannot be repeated: its first groups would be updated twice.
    """
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    rates = [group["lr"] for group in groups]
    try:
        for group in groups:
            group["lr"] = 0.0
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        torch.optim.AdamW.step(optimizer)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            "the optimizer's two moments per weight do not fit into memory",
            where="model.freeze",
            fix="freeze more parts, or use a smaller model",
        ) from error
    finally:
        optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
    for moments in optimizer.state.values():
        moments["step"].zero_()


def count_warmup_steps(train: TrainConfig, total_steps: int) -> int:
    """Return the number of warm-up steps: `warmup_steps` if set, else a share of the run."""
    if train.warmup_steps is not None:
        return train.warmup_steps
    return round(train.warmup_fraction * total_steps)


def learning_rate(step: int, total_steps: int, *, train: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then the schedule to its minimum.

    Args:
        step: Optimizer step, from 0.
        total_steps: Number of steps in the run.
        train: Peak, warm-up, schedule and minimum.
    """
    warmup = count_warmup_steps(train, total_steps)
    if step < warmup:
        return train.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    if train.schedule == "cosine":
        share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    elif train.schedule == "linear":
        share = max(0.0, 1.0 - progress)
    else:
        return train.learning_rate
    return train.learning_rate * (train.min_lr_ratio + (1.0 - train.min_lr_ratio) * share)


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """Set each group's rate to `rate` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


class AveragedWeights:
    """Exponential moving average of the trained weights (Polyak and Juditsky 1992).

    The decay is warmed up, min(decay, (1 + step) / (10 + step)), so that early averages are not
    dominated by the random start.
    """

    def __init__(self, captioner: Captioner, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(captioner.named_trainable())
        self.weights = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after optimizer step `step` (from 0)."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        averages = list(self.weights.values())
        current = [p.detach() for p in self._parameters.values()]
        torch._foreach_lerp_(averages, current, 1.0 - decay)

    @torch.no_grad()
    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load saved averages."""
        for name, weight in self.weights.items():
            weight.copy_(weights[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged weights in the model inside the block; restore its own afterwards."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._write(self.weights)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
