"""Training: the loop, checkpoints, cached features."""

from captune.training.loop import TrainResult, train
from captune.training.validation import NO_METRIC

__all__ = ["NO_METRIC", "TrainResult", "train"]
