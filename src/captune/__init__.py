"""captune: fine-tune, evaluate and run image captioning models.

`captune.load(model).caption(image)` captions; `captune.run(recipe)` trains and reports. The names
of `__all__` are the public interface (docs/reference/python.md); every other module is private.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captune import notebook as notebook
    from captune.bulk import caption_library
    from captune.data import load_records
    from captune.errors import CaptuneError
    from captune.inference import LoadedCaptioner as Captioner
    from captune.inference import load
    from captune.metrics import References, score
    from captune.pipeline.run import run
    from captune.recipe import Recipe, load_recipe
    from captune.records import Prediction
    from captune.training import CaptionCollator, CaptionTrainer, caption_metrics

__version__ = "0.1.0"
__all__ = [
    "CaptionCollator",
    "CaptionTrainer",
    "Captioner",
    "CaptuneError",
    "Prediction",
    "Recipe",
    "References",
    "__version__",
    "caption_library",
    "caption_metrics",
    "load",
    "load_recipe",
    "load_records",
    "run",
    "score",
]

# Imported on first use: torch takes seconds, which the command line's help must not.
_HOMES = MappingProxyType(
    {
        "CaptionCollator": ("captune.training", "CaptionCollator"),
        "CaptionTrainer": ("captune.training", "CaptionTrainer"),
        "Captioner": ("captune.inference", "LoadedCaptioner"),
        "CaptuneError": ("captune.errors", "CaptuneError"),
        "Prediction": ("captune.records", "Prediction"),
        "Recipe": ("captune.recipe", "Recipe"),
        "References": ("captune.metrics", "References"),
        "caption_library": ("captune.bulk", "caption_library"),
        "caption_metrics": ("captune.training", "caption_metrics"),
        "load": ("captune.inference", "load"),
        "load_recipe": ("captune.recipe", "load_recipe"),
        "load_records": ("captune.data", "load_records"),
        "run": ("captune.pipeline", "run"),
        "score": ("captune.metrics", "score"),
    }
)
_MODULES = ("notebook",)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"captune.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'captune' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
