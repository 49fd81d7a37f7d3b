"""Training: the loop, checkpoints, cached features."""

from captune.training.loop import TrainResult, train
from captune.training.tracking import check_trackers
from captune.training.validation import NO_METRIC

__all__ = ["NO_METRIC", "TrainResult", "check_trackers", "train"]
