"""Where the model of a run runs: in this process, in one of its own, or on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captune.bulk.captioning import StreamCaptioner
from captune.bulk.cluster.captioner import RayCaptioner
from captune.bulk.cluster.connection import require_ray
from captune.bulk.worker.captioner import WorkerCaptioner
from captune.errors import RecipeError
from captune.inference import RunRequest
from captune.workers import load_here

MAX_IN_PROCESS = 100
"""Maximum number of images captioned in this process: one of its own takes seconds to start, and
with few images a crash costs little."""

EngineName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class RunEngine:
    """Where models run.

    Attributes:
        name: On this machine, or on a Ray cluster.
        num_actors: Models on the cluster; `None`: as many as it has room for.
    """

    name: EngineName = "local"
    num_actors: int | None = None

    def check(self) -> None:
        """Check what can be checked before any work.

        Raises:
            MissingExtraError: Ray is not installed.
            RecipeError: A number of actors is given without a cluster.
        """
        if self.name == "ray":
            require_ray()
        elif self.num_actors is not None:
            raise RecipeError(
                f"--actors {self.num_actors} is for a Ray cluster", fix="add --engine ray"
            )


LOCAL = RunEngine()


def open_model(
    request: RunRequest, *, was_killed: bool, engine: RunEngine = LOCAL
) -> StreamCaptioner:
    """Load the model of a run, in a process of its own for many images or after a kill.

    Raises:
        CaptuneError: It cannot be loaded.
    """
    if engine.name == "ray":
        return RayCaptioner(request, num_actors=engine.num_actors)
    if request.num_images > MAX_IN_PROCESS or was_killed:
        return WorkerCaptioner(request)
    return load_here(request)
