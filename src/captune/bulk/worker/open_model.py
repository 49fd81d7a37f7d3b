"""Where the model of a run is: in this process for few images, else in one of its own."""

from __future__ import annotations

from captune.bulk.captioning import StreamCaptioner
from captune.bulk.worker.captioner import WorkerCaptioner
from captune.inference import RunRequest
from captune.workers import load_here

# A process costs seconds to start; with few images, a crash costs little.
_MAX_IN_PROCESS = 100


def open_model(request: RunRequest, *, was_killed: bool) -> StreamCaptioner:
    """Return the model of a run, in a process of its own for many images, or after a crash.

    Raises:
        CaptuneError: It cannot be loaded.
    """
    if request.num_images > _MAX_IN_PROCESS or was_killed:
        return WorkerCaptioner(request)
    return load_here(request)
