"""The stages of a run, one file each, in one literal table."""

from __future__ import annotations

from collections.abc import Callable

from captune.pipeline.stages.baseline import baseline, predict_before
from captune.pipeline.stages.evaluate import evaluate, predict_after
from captune.pipeline.stages.job import Job
from captune.pipeline.stages.prepare import prepare
from captune.pipeline.stages.report import report
from captune.pipeline.stages.scored import scored_records
from captune.pipeline.stages.train import train_along, train_model

__all__ = ["SHARED_WORK", "STAGE_WORK", "Job", "scored_records"]

STAGE_WORK: dict[str, Callable[[Job], None]] = {
    "prepare": prepare,
    "baseline": baseline,
    "train": train_model,
    "evaluate": evaluate,
    "report": report,
}

SHARED_WORK: dict[str, Callable[[Job], object]] = {
    "baseline": predict_before,
    "train": train_along,
    "evaluate": predict_after,
}
"""The part of a stage in which the other processes join."""
