"""Recipes and scripts for whole runs, in one process and in several."""

from __future__ import annotations

import os
from pathlib import Path

SCRIPTS = Path(__file__).parent
"""Folder of the scripts that tests start as separate processes."""


def script_environment(**variables: str) -> dict[str, str]:
    """Build the environment of a script's process, which must find `support` as tests do."""
    paths = [str(SCRIPTS.parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **variables}
