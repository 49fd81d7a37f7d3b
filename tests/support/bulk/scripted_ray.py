"""A stand-in for the package Ray, without processes: which images end actors is scripted.

`captune.bulk.cluster` runs on it unchanged. Its actors are queues of images, and one of them takes
a step whenever the run waits, so all answers and deaths come in the same order each time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from itertools import islice
from types import ModuleType, SimpleNamespace
from typing import Any

from captune.bulk.cluster.actor import ActorWork
from captune.bulk.worker.wire import Complete, Message, Ready
from captune.recipe import fill_decoding
from captune.records import Prediction

# Images that an actor captions in one step.
_PER_STEP = 3


class RayError(Exception):
    """What reading an answer of an actor that is gone raises."""


@dataclass(frozen=True, slots=True)
class Death:
    """The end of an actor.

    Attributes:
        image: The image that ended it.
        held: The images that it had not answered, in order.
    """

    image: str
    held: tuple[str, ...]


class ScriptedRay(ModuleType):
    """The package: a cluster of one node.

    Attributes:
        deaths: The actors that ended so far.
        tried_alone: The images that came with the promise that no more do, before their answers.
    """

    def __init__(
        self,
        kills: Mapping[str, int],
        *,
        cpus: int = 2,
        looks_ahead: int = 0,
        steps_to_load: int = 0,
    ) -> None:
        """Start the cluster.

        Args:
            kills: Image -> how often it ends the actor that captions it.
            cpus: CPUs of the node.
            looks_ahead: Images that an actor opens, and may end by, before it captions them.
            steps_to_load: Steps in which an actor answers nothing, as its model is being loaded.
        """
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.exceptions = SimpleNamespace(RayError=RayError)
        self.deaths: list[Death] = []
        self.tried_alone: list[str] = []
        self.looks_ahead, self.steps_to_load = looks_ahead, steps_to_load
        self._kills, self._cpus = Counter(kills), cpus

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": self._cpus}}]

    def remote(self, _: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda job: _Actor(self)))

    def wait(self, answers: list[_Answer], *, num_returns: int, timeout: float) -> Any:
        return answers[:num_returns], answers[num_returns:]

    def get(self, answer: _Answer) -> list[Message]:
        return answer.actor.step()

    def kill(self, actor: _Actor, *, no_restart: bool) -> None:
        actor.images.clear()

    def must_end(self, image: str) -> bool:
        """Return whether an image ends its actor once more."""
        if not self._kills[image]:
            return False
        self._kills[image] -= 1
        return True


class _Actor:
    def __init__(self, ray: ScriptedRay) -> None:
        self._ray = ray
        self.images: deque[str] = deque()
        self._steps_to_load = ray.steps_to_load
        self._answers: list[Message] = [Ready("a stand-in")]
        self.take = SimpleNamespace(remote=lambda: _Answer(self))
        self.put = SimpleNamespace(remote=self._receive)

    def _receive(self, request: ActorWork | Complete) -> None:
        if isinstance(request, Complete):
            self._answers.append(fill_decoding(request.decoding, {}))
        else:
            names = [name for name, _ in request.images.images]
            self.images += names
            self._ray.tried_alone += names if request.is_alone else []

    def step(self) -> list[Message]:
        """Caption some images; those of the step in which one ends the actor are lost with it."""
        if self._steps_to_load:
            self._steps_to_load -= 1
            return []
        for name in islice(self.images, _PER_STEP + self._ray.looks_ahead):
            if self._ray.must_end(name):
                self._ray.deaths.append(Death(name, tuple(self.images)))
                raise RayError(f"killed by {name}")
        for _ in range(min(_PER_STEP, len(self.images))):
            name = self.images.popleft()
            self._answers.append(Prediction(name, f"a caption of {name}", -0.5, 9, "eos"))
        answers, self._answers = self._answers, []
        return answers


@dataclass(eq=False, frozen=True, slots=True)
class _Answer:
    actor: _Actor
