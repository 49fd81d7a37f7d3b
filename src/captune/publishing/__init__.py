"""Publishing a run on the hub."""

from captune.publishing.push import PushedRun, push_model, push_run
from captune.publishing.push_best import BestModelPusher
from captune.publishing.space import push_space

__all__ = ["BestModelPusher", "PushedRun", "push_model", "push_run", "push_space"]
