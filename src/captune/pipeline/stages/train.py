"""The stage `train`: the best model in model/, and figures of the training."""

from __future__ import annotations

import math

from captune.data import (
    load_splits,
    pick_split,
    select_split,
)
from captune.evaluation import (
    TrainingLog,
    read_training_log,
)
from captune.pipeline.pushing import pushing_best
from captune.pipeline.stages.job import Job
from captune.pipeline.stages.scored import (
    build_from_recipe,
)
from captune.storage import write_json
from captune.training import TrainResult, train


def train_model(job: Job) -> None:
    """Train, and save the best model in model/."""
    with pushing_best(job.recipe, job.folder, say=job.say):
        result = train_along(job)
    log = read_training_log(job.folder / "log.jsonl")
    metrics = {
        "steps": result.steps,
        "best_step": result.best_step,
        "best_metric": job.recipe.train.best_metric,
        "best_value": result.best_value,
        "seconds": round(result.seconds, 1),
        **_losses(log, best_step=result.best_step),
    }
    write_json(job.folder / "train_metrics.json", metrics)


def train_along(job: Job) -> TrainResult:
    """Do this process's share of the training: all of it if there is only one."""
    records = load_splits(job.folder)
    captioner = build_from_recipe(job, records)
    parts = (select_split(records, "train"), pick_split(records, "val"))
    if not len(parts[1]):
        job.say("no validation split: the last weights are kept instead of the best")
    return train(
        captioner,
        parts,
        recipe=job.recipe,
        run_folder=job.folder,
        resume=job.resume,
        say=job.say,
    )


def _losses(log: TrainingLog, *, best_step: int) -> dict[str, float]:
    """Return the last training and validation loss, the kept model's, and perplexities."""
    train_loss, val_loss = log.curve("loss").values, log.curve("val_loss")
    losses = {}
    if train_loss:
        losses["train_loss"] = train_loss[-1]
    kept = dict(zip(val_loss.steps, val_loss.values, strict=True)).get(best_step)
    validations = {"": val_loss.values[-1] if val_loss.values else None, "best_": kept}
    for prefix, value in validations.items():
        if value is not None:
            losses[f"{prefix}val_loss"] = value
            losses[f"{prefix}val_perplexity"] = math.exp(min(value, 700.0))
    return losses
