"""A Ray cluster on this machine: two nodes with raylets of their own, which can be killed.

`ray.cluster_utils.Cluster` starts and ends the nodes; commands join it by RAY_ADDRESS.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.bulk.fork_server import stub_environment

_STORE_BYTES = 100_000_000
# A node that was killed is missed within two seconds, not fifteen, in which the others may have
# done all the work. Not by shorter time-outs: a busy node would be taken for a dead one.
_HEALTH_CHECKS = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
# Every node, for good. Otherwise only its exit hook holds it, and Python 3.13 drops those hooks in
# forked children, where deleting Ray's client is a segmentation fault.
_NODES: list[Any] = []


@dataclass
class TwoNodes:
    """The cluster.

    Attributes:
        address: What RAY_ADDRESS gets.
        cluster: Ray's.
        nodes: The nodes that are up, the head first.
        cpus: CPUs of each.
    """

    address: str
    cluster: Any
    nodes: list[Any]
    cpus: int
    killed: list[int] = field(default_factory=list)

    def kill_an_actor(self) -> bool:
        """Send SIGKILL to the process of an actor; return whether there was one."""
        for process in sorted(_actor_processes() - set(self.killed)):
            os.kill(process, signal.SIGKILL)
            self.killed.append(process)
            return True
        return False

    def stop_actors(self) -> set[int]:
        """Make the processes of all actors stand still, and return them."""
        found = _actor_processes()
        for process in found:
            os.kill(process, signal.SIGSTOP)
        return found

    def let_go(self, processes: set[int]) -> None:
        """End processes that stand still."""
        for process in processes & _actor_processes():
            os.kill(process, signal.SIGKILL)

    def has_actors(self, *, within: float) -> bool:
        """Return whether actors are left after a time."""
        limit = time.monotonic() + within
        while _actor_processes():
            if time.monotonic() > limit:
                return True
            time.sleep(0.1)
        return False

    def kill_a_node(self) -> None:
        """End the second node at once, with all its processes."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def add_a_node(self) -> None:
        """Start another node."""
        node = self.cluster.add_node(num_cpus=self.cpus, object_store_memory=_STORE_BYTES)
        self.nodes.append(node)
        _NODES.append(node)


@contextmanager
def two_nodes(*, cpus: int = 1) -> Iterator[TwoNodes]:
    """Start the cluster for the body; its processes can load stub captioners."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ.update(stub_environment(), RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": cpus,
            "object_store_memory": _STORE_BYTES,
            "_system_config": _HEALTH_CHECKS,
        },
    )
    _NODES.append(cluster.head_node)
    try:
        nodes = TwoNodes(cluster.address, cluster, [cluster.head_node], cpus)
        nodes.add_a_node()
        yield nodes
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def _actor_processes() -> set[int]:
    """Return the processes of captune's actors, by the names that Ray gives them."""
    found = set()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                words = (place / "cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(b"ray::CaptionActor"):
                found.add(int(place.name))
    return found
