"""A caption server: an HTTP API in front of models that run in separate processes.

Names are imported on first use, because FastAPI is an optional dependency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.serving.run import run_server
    from captune.serving.settings import ServedModel, ServerSettings, name_served_models

__all__ = ["ServedModel", "ServerSettings", "name_served_models", "run_server"]

_HOMES = {
    "ServedModel": "captune.serving.settings",
    "ServerSettings": "captune.serving.settings",
    "name_served_models": "captune.serving.settings",
    "run_server": "captune.serving.run",
}

__getattr__ = import_on_use(__name__, _HOMES)
