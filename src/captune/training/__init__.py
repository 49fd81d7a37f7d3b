"""Training: two engines, checkpoints, cached features; and `CaptionTrainer` for your own scripts.

Modules that need Hugging Face's Trainer are imported on first use, as it takes a second to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use
from captune.training.engines import check_engine, train
from captune.training.forecast.estimate import TrainingEstimate, estimate_training
from captune.training.forecast.memory import MemoryPlan
from captune.training.forecast.trial import TimedStep, Trial, open_trial
from captune.training.launchers import refuse_unlike_processes
from captune.training.setup import TrainResult
from captune.training.steps.reduce import GROUP_TIMEOUT
from captune.training.team import ProcessError, Team
from captune.training.tracking import check_trackers, log_test_scores
from captune.training.validation import check_best_metric

if TYPE_CHECKING:
    from captune.training.hf.caption_trainer import CaptionTrainer
    from captune.training.hf.collator import CaptionCollator
    from captune.training.hf.metrics import caption_metrics

__all__ = [
    "GROUP_TIMEOUT",
    "CaptionCollator",
    "CaptionTrainer",
    "MemoryPlan",
    "ProcessError",
    "Team",
    "TimedStep",
    "TrainResult",
    "TrainingEstimate",
    "Trial",
    "caption_metrics",
    "check_best_metric",
    "check_engine",
    "check_trackers",
    "estimate_training",
    "log_test_scores",
    "open_trial",
    "refuse_unlike_processes",
    "train",
]

_HOMES = {
    "CaptionCollator": "captune.training.hf.collator",
    "CaptionTrainer": "captune.training.hf.caption_trainer",
    "caption_metrics": "captune.training.hf.metrics",
}

__getattr__ = import_on_use(__name__, _HOMES)
