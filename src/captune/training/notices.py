"""Notices printed before the first step: images per process, and settings that look wrong."""

from __future__ import annotations

from captune.recipe import Recipe, TrainConfig, epochs_for_new_weights
from captune.suggest import format_count
from captune.training.batches.planning import count_shares
from captune.training.steps.optimizer import count_warmup_steps

_MAX_RATE = 0.1
"""AdamW moves each weight by about the rate per step; most weights are smaller than this."""


def explain_precision(asked: str, chosen: str) -> tuple[str, ...]:
    """Return a line if `train.precision: auto` is fp16, which differs from what most GPUs do."""
    if asked == "auto" and chosen == "fp16":
        return (
            "train.precision: auto is fp16 with loss scaling, as this device has no bf16 compute",
        )
    return ()


def describe_shares(
    num_images: int, num_processes: int, *, global_batch_size: int
) -> tuple[str, ...]:
    """Return how several processes share an optimizer step, with a warning if some are idle.

    Args:
        num_images: Images in the largest step.
        num_processes: Number of processes that train.
        global_batch_size: The recipe's.
    """
    if num_processes == 1:
        return ()
    shares = count_shares(num_images, num_processes)
    counts = ", ".join(map(str, shares))
    lines = [
        f"processes: {num_processes} share the {format_count(num_images, 'image')} of a step:"
        f" {counts}"
    ]
    idle = shares.count(0)
    if idle:
        first, last = num_processes - idle, num_processes - 1
        ranks = f"rank {last} has" if idle == 1 else f"ranks {first} to {last} have"
        lines.append(
            f"warning: {ranks} no image in any step (train.global_batch_size"
            f" {global_batch_size}); start at most"
            f" {format_count(num_images, 'process', plural='processes')}"
            + (
                f", or set train.global_batch_size to {num_processes} or more"
                if num_images == global_batch_size
                else ": the training set has no more images"
            )
        )
    return tuple(lines)


def describe_other_team(saved_by: int, size: int) -> tuple[str, ...]:
    """Return what changes when another number of processes resumes a run; empty: nothing.

    Args:
        saved_by: Number of processes that saved the checkpoint; 0: unknown.
        size: Number of processes that resume it.
    """
    if saved_by in (0, size):
        return ()
    before = format_count(saved_by, "process", plural="processes")
    return (
        f"the checkpoint was saved by {before}, and {size} {'resumes' if size == 1 else 'resume'}"
        " it: each step keeps its images, views and learning rate, and is shared among the"
        " processes there are now; sums are rounded in another order, and dropout, if the model"
        " has any, draws other numbers",
    )


def warn_of_few_steps(recipe: Recipe, total_steps: int) -> list[str]:
    """Return a warning if a run is too short for weights that start at random.

    Args:
        recipe: All settings.
        total_steps: Optimizer steps in the whole run.
    """
    epochs = epochs_for_new_weights(recipe, total_steps)
    if epochs is None:
        return []
    return [
        f"warning: {format_count(total_steps, 'step is', plural='steps are')} few for a model that"
        " starts from random weights, so its captions may be nearly the same for all images; --set"
        f" train.epochs={epochs} gives about 1,000 steps"
    ]


def find_doubts(settings: TrainConfig, total_steps: int) -> list[str]:
    """Return warnings about settings that are allowed but look like mistakes.

    Args:
        settings: The recipe's section `train`.
        total_steps: Optimizer steps in the whole run.
    """
    warnings = []
    warmup = count_warmup_steps(settings, total_steps)
    if settings.warmup_steps is not None and warmup >= total_steps:
        warnings.append(
            f"warning: train.warmup_steps {warmup} is not shorter than the run of"
            f" {format_count(total_steps, 'step')}, so the learning rate never reaches"
            " train.learning_rate and never falls; set it lower, or remove it and use"
            " train.warmup_fraction"
        )
    if settings.warmup_steps is None and settings.warmup_fraction == 1.0:
        warnings.append(
            "warning: train.warmup_fraction 1 warms up for the whole run, so the learning rate"
            " never falls; 0.05 is usual"
        )
    rates = {
        "train.learning_rate": settings.learning_rate,
        "train.learning_rate times train.vision_lr_scale": settings.learning_rate
        * settings.vision_lr_scale,
    }
    for name, rate in rates.items():
        if rate > _MAX_RATE:
            warnings.append(
                f"warning: {name} is {rate:g}, and AdamW does not learn at rates above"
                f" {_MAX_RATE:g}; 1e-5 to 1e-3 is usual"
            )
            return warnings
    decay = max(settings.weight_decay, settings.vision_weight_decay or 0.0)
    if decay * settings.learning_rate >= 1.0:
        warnings.append(
            f"warning: weight decay {decay:g} at train.learning_rate {settings.learning_rate:g}"
            " removes each weight completely in every step; train.weight_decay 0.01 to 0.1 is"
            " usual"
        )
    return warnings
