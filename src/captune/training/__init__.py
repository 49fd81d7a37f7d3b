"""Training: two engines, checkpoints, cached features; and `CaptionTrainer` for own scripts.

What stands on Hugging Face's Trainer is imported when first used: it takes a second to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from captune.training.engines import check_engine, train
from captune.training.estimate import TrainingEstimate, estimate_training
from captune.training.setup import GROUP_TIMEOUT, TrainResult
from captune.training.team import ProcessError, Team
from captune.training.tracking import check_trackers
from captune.training.validation import check_best_metric

if TYPE_CHECKING:
    from captune.training.hf.caption_trainer import CaptionTrainer
    from captune.training.hf.collator import CaptionCollator
    from captune.training.hf.metrics import caption_metrics

__all__ = [
    "GROUP_TIMEOUT",
    "CaptionCollator",
    "CaptionTrainer",
    "ProcessError",
    "Team",
    "TrainResult",
    "TrainingEstimate",
    "caption_metrics",
    "check_best_metric",
    "check_engine",
    "check_trackers",
    "estimate_training",
    "train",
]

_HOMES = {
    "CaptionCollator": "hf.collator",
    "CaptionTrainer": "hf.caption_trainer",
    "caption_metrics": "hf.metrics",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
