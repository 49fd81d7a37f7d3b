"""Load the model that a request names, or its conversion for this machine."""

from __future__ import annotations

import functools

from captune.inference import LoadedCaptioner, RunRequest
from captune.progress import print_line


def load_here(request: RunRequest) -> LoadedCaptioner:
    """Load a model into this process; torch is imported only if it is needed.

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
