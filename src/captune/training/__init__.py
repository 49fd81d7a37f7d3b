"""Training: the loop, checkpoints, cached features."""

from captune.training.estimate import TrainingEstimate, estimate_training
from captune.training.loop import TrainResult, train
from captune.training.tracking import check_trackers
from captune.training.validation import NO_METRIC

__all__ = [
    "NO_METRIC",
    "TrainResult",
    "TrainingEstimate",
    "check_trackers",
    "estimate_training",
    "train",
]
