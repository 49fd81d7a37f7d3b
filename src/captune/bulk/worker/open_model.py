"""Where the model of a run is: in this process for few images, else in one of its own."""

from __future__ import annotations

import functools

from captune.bulk.captioning import StreamCaptioner
from captune.bulk.worker.captioner import WorkerCaptioner
from captune.inference import LoadedCaptioner, RunRequest
from captune.progress import print_line

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


def load_here(request: RunRequest) -> LoadedCaptioner:
    """Load the model that a request names, or its conversion; torch is imported if it is needed.

    Raises:
        CaptuneError: It cannot be loaded.
    """
    from captune.inference import known_model, load

    model = known_model(request)
    if model is None:
        from captune.export import choose_model

        model = choose_model(request, say=functools.partial(print_line, to_stderr=True))
    return load(
        model, device=request.device, precision=request.precision, revision=request.revision
    )
