"""The number and place of actors are decided from the nodes, before anything is loaded."""

from __future__ import annotations

import pytest

from captune.bulk.cluster.slots import ActorShape, choose_shape
from captune.errors import RecipeError


def node(cpus: float, gpus: float = 0.0) -> dict[str, float]:
    return {"CPU": cpus, "memory": 1e9, **({"GPU": gpus} if gpus else {})}


@pytest.mark.parametrize(
    ("nodes", "shape", "slots"),
    [
        ([node(8), node(8)], ActorShape(8, 0), 2),
        ([node(2)], ActorShape(2, 0), 1),
        # Twice the CPUs: two actors of the smaller node's size.
        ([node(8), node(16)], ActorShape(8, 0), 3),
        ([node(0), node(4)], ActorShape(4, 0), 1),
        # Each GPU with its share of the CPUs; a node without GPUs has no actor.
        ([node(16, 4), node(64)], ActorShape(4, 1), 4),
        ([node(8, 1), node(12, 2)], ActorShape(6, 1), 3),
    ],
)
def test_there_is_one_actor_per_gpu_or_per_node(nodes, shape, slots):
    assert choose_shape(nodes, wants_gpus=True) == shape
    assert shape.slots(nodes) == slots


def test_a_run_on_cpus_leaves_gpus_alone():
    assert choose_shape([node(16, 4)], wants_gpus=False) == ActorShape(16, 0)


@pytest.mark.parametrize(("num_actors", "cpus"), [(1, 8), (2, 8), (3, 4), (4, 4), (16, 1)])
def test_a_number_of_actors_divides_the_cpus(num_actors, cpus):
    nodes = [node(8), node(8)]
    assert choose_shape(nodes, wants_gpus=True, num_actors=num_actors) == ActorShape(cpus, 0)


@pytest.mark.parametrize(
    ("nodes", "num_actors", "message"),
    [
        ([node(2), node(1)], 4, r"no room for 4 actors: each needs a CPU, and there are 3"),
        ([node(8, 1)], 2, r"no room for 2 actors: each needs a GPU .*, and there is 1"),
        ([node(0, 1)], 1, r"no room for 1 actor: each needs a GPU with a CPU beside it"),
        ([node(0)], None, r"no room for one actor: each needs a CPU, and there are 0"),
        ([], None, r"no room for one actor"),
    ],
)
def test_actors_without_a_slot_are_refused(nodes, num_actors, message):
    with pytest.raises(RecipeError, match=message):
        choose_shape(nodes, wants_gpus=True, num_actors=num_actors)
