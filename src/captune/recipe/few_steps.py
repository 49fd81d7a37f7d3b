"""Whether a run is too short for weights that start at random, and how long it should be."""

from __future__ import annotations

import math

from captune.recipe.schema import Recipe

_FEW_STEPS = 500
_ENOUGH_STEPS = 1000


def epochs_for_new_weights(recipe: Recipe, num_steps: int) -> int | None:
    """Return the epochs that give about 1,000 steps, if the run is too short for new weights.

    Args:
        recipe: All settings.
        num_steps: Optimizer steps of the run.

    Returns:
        `None` if the run is long enough, starts from a checkpoint, or has a fixed number of steps.
    """
    fixed = recipe.train.max_steps is not None or recipe.model.checkpoint is not None
    if fixed or not 0 < num_steps < _FEW_STEPS:
        return None
    return math.ceil(recipe.train.epochs * _ENOUGH_STEPS / num_steps)
