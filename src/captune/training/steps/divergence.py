"""The end of a training whose loss is not a number: no later step can repair its weights."""

from __future__ import annotations

import math
from typing import Any

from captune.errors import ModelError
from captune.recipe import TrainConfig

_MIN_SCALE = 1.0
"""fp16's loss scale is halved at each overflow; below this, overflows are not its fault."""


def refuse_divergence(loss: float, *, step: int, train: TrainConfig, scaler: Any = None) -> None:
    """Stop if a step's loss is NaN or infinite.

    Args:
        loss: The loss of the whole step, summed over all processes.
        step: Number of the step, from 0.
        train: The recipe's section `train`.
        scaler: Loss scaling of fp16, which skips single steps that overflow; `None`: there is none.

    Raises:
        ModelError: The training has diverged.
    """
    if math.isfinite(loss) or (scaler is not None and scaler.get_scale() >= _MIN_SCALE):
        return
    fp16 = "" if scaler is None else " or another train.precision than fp16"
    raise ModelError(
        f"the training has diverged: the loss of step {step + 1} is {loss:g}, and no later step can"
        " repair the weights",
        where=f"train.learning_rate {train.learning_rate:g}",
        fix=f"start again with --force and a lower train.learning_rate{fp16} (1e-5 to 1e-3 is"
        " usual); train.max_grad_norm 1 and a longer warm-up help too",
    )
