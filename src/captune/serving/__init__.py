"""Use by others: a run pushed to the hub."""

from captune.serving.push import PushedRun, push_model, push_run
from captune.serving.push_best import BestModelPusher

__all__ = ["BestModelPusher", "PushedRun", "push_model", "push_run"]
