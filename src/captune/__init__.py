"""captune: fine-tune, evaluate and run image captioning models.

`captune.load(model).caption(image)` captions; `captune.run(recipe)` trains and reports.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run"]

# Loaded on first use: both import torch, which the command line's help must not.
_LAZY = {"load": "captune.inference", "run": "captune.pipeline"}
_MODULES = ("notebook",)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"captune.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'captune' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, *_MODULES])
