"""How many actors a cluster has room for; one too many would silently wait forever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captune.errors import RecipeError
from captune.suggest import format_count

NodeResources = Mapping[str, float]
"""`CPU` and `GPU` of one node, as Ray counts them."""


@dataclass(frozen=True, slots=True)
class ActorShape:
    """What one actor reserves.

    Attributes:
        cpus: CPUs for the model, or for decoding beside a GPU.
        gpus: GPUs, 0 or 1.
    """

    cpus: int
    gpus: int

    def slots(self, nodes: Sequence[NodeResources]) -> int:
        """Return how many actors fit on the nodes."""
        return sum(self._slots_of(node) for node in nodes)

    def _slots_of(self, node: NodeResources) -> int:
        by_cpu = int(node.get("CPU", 0)) // self.cpus
        return min(by_cpu, int(node.get("GPU", 0))) if self.gpus else by_cpu


def choose_shape(
    nodes: Sequence[NodeResources], *, wants_gpus: bool, num_actors: int | None = None
) -> ActorShape:
    """Return what an actor reserves: a GPU and its share of CPUs, or the CPUs of a node.

    Args:
        nodes: The live nodes.
        wants_gpus: Whether the model may run on a GPU.
        num_actors: Number of actors that the user wants; `None`: as many as there is room for.

    Raises:
        RecipeError: The cluster has no room for so many actors.
    """
    has_gpus = wants_gpus and any(node.get("GPU", 0) >= 1 for node in nodes)
    gpus = 1 if has_gpus else 0
    used = [node for node in nodes if node.get("GPU" if has_gpus else "CPU", 0) >= 1]
    shares = [int(node.get("CPU", 0)) // (int(node["GPU"]) if has_gpus else 1) for node in used]
    largest = max(min(shares, default=0), 1)
    if num_actors is None:
        _check(ActorShape(largest, gpus).slots(nodes), None, gpus)
        return ActorShape(largest, gpus)
    _check(ActorShape(1, gpus).slots(nodes), num_actors, gpus)
    # The largest number of CPUs per actor with which all actors fit.
    shapes = (ActorShape(cpus, gpus) for cpus in range(max(*shares, largest), 0, -1))
    return next(shape for shape in shapes if shape.slots(nodes) >= num_actors)


def _check(num_slots: int, num_actors: int | None, gpus: int) -> None:
    if num_slots >= (num_actors or 1):
        return
    unit = "GPU with a CPU beside it" if gpus else "CPU"
    actors = "one actor" if num_actors is None else format_count(num_actors, "actor")
    raise RecipeError(
        f"the cluster has no room for {actors}: each needs a {unit},"
        f" and there {'is' if num_slots == 1 else 'are'} {num_slots}",
        where="--engine ray" if num_actors is None else "--actors",
        fix=f"use --actors {num_slots}, or add nodes" if num_slots else "add nodes to the cluster",
    )
