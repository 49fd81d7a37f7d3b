"""A stub as a model that a server in this process serves."""

from __future__ import annotations

from pathlib import Path

from captune.inference import RunRequest
from captune.serving import ServedModel


def served_stub(folder: Path, *, name: str = "stub") -> ServedModel:
    """Return the stub of a folder that `write_stub` wrote, with a name."""
    request = RunRequest(
        str(folder), backend="torch", num_images=1000, device="cpu", precision="auto"
    )
    return ServedModel(name, request)
