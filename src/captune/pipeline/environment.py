"""What a run ran on: versions, hardware and command, for environment.json and the report."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version

from captune import __version__
from captune.models.devices import choose_hardware
from captune.recipe import Recipe

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy", "pillow")


def describe_environment(recipe: Recipe) -> dict[str, str]:
    """Label -> value, in the order people read them."""
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    return {
        "command": shlex.join(sys.argv),
        "seed": str(recipe.seed),
        "hardware": hardware.describe(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "captune": __version__,
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
