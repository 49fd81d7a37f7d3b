"""Join or start a Ray cluster, and list its resources; the only module that imports Ray."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from importlib.util import find_spec
from typing import Any

from captune.bulk.cluster.actor import ActorJob, CaptionActor
from captune.bulk.cluster.slots import ActorShape, NodeResources
from captune.errors import MissingExtraError, RecipeError

_SECONDS_TO_CONNECT = 10.0


def require_ray() -> None:
    """Check that Ray is installed, before any work.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("ray") is None:
        raise MissingExtraError(
            "--engine ray needs the package ray", fix="pip install 'captune[ray]'"
        )


class Cluster:
    """A Ray cluster that this process has joined: that at RAY_ADDRESS, or one on this machine."""

    def __init__(self) -> None:
        """Join the cluster, or start one on this machine.

        Raises:
            MissingExtraError: Ray is not installed.
            RecipeError: The cluster does not answer, or runs another version of Python or Ray.
        """
        require_ray()
        # Otherwise a cluster on this machine reports to Ray's makers every hour.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray: Any = ray
        self._is_own = not ray.is_initialized()
        if not self._is_own:
            return
        try:
            _knock(os.environ.get("RAY_ADDRESS", ""))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RecipeError(
                f"cannot join the Ray cluster {os.environ.get('RAY_ADDRESS', '')}: {error}",
                where="--engine ray",
                fix="check RAY_ADDRESS, and that `ray status` shows the cluster; unset it to use"
                " this machine alone",
            ) from error

    def nodes(self) -> list[NodeResources]:
        """Return the resources of each live node."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def start(self, job: ActorJob, shape: ActorShape) -> Any:
        """Start an actor and return its handle; the actor waits until a node has room for it."""
        # The run replaces an actor that dies: its images need not wait until Ray restarts it.
        actor = self._ray.remote(CaptionActor).options(
            num_cpus=shape.cpus,
            num_gpus=shape.gpus,
            max_restarts=0,
            max_concurrency=4,
            scheduling_strategy="SPREAD",
        )
        return actor.remote(job)

    def wait(self, answers: list[Any], seconds: float) -> list[Any]:
        """Return the answers that have arrived, after up to `seconds`; may be empty."""
        if not answers:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(answers, num_returns=1, timeout=seconds)
        return list(ready)

    def read(self, answer: Any) -> Any:
        """Return the content of an answer that has arrived.

        Raises:
            ActorEndedError: The actor is gone.
        """
        try:
            return self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            raise ActorEndedError(str(error)) from error

    def end(self, actor: Any) -> None:
        """Kill an actor, which may be gone already."""
        self._ray.kill(actor, no_restart=True)

    def leave(self) -> None:
        """Leave the cluster, which ends all actors of this process; not if the caller joined it."""
        if self._is_own:
            self._ray.shutdown()


def _knock(address: str) -> None:
    """Connect to the head of a cluster once: where nothing listens, Ray retries for minutes.

    Raises:
        OSError: Nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()


class ActorEndedError(RuntimeError):
    """An actor is gone: its process was killed, or its node is down."""
