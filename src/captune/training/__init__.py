"""Training: the loop, checkpoints, cached features."""

from captune.training.loop import TrainResult, train

__all__ = ["TrainResult", "train"]
