"""Lazy imports: a package's public names are imported when they are first used.

Looking at files and checking settings must not wait for torch, which takes seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def import_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package whose names are imported on first use.

    Args:
        package: The package's `__name__`.
        homes: Public name -> the module that defines it.
    """

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get
