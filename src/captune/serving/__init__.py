"""Use by others: a run pushed to the hub."""

from captune.serving.push import PushedRun, push_model, push_run

__all__ = ["PushedRun", "push_model", "push_run"]
