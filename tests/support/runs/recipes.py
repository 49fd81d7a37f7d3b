"""A small recipe for a whole run, and the files that the run writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captune.recipe import Recipe

ARTEFACTS = (
    *("recipe.yaml", "environment.json", "stages.json", "splits.json", "data_check.json"),
    *("splits/train.jsonl", "splits/val.jsonl", "splits/test.jsonl", "skipped_images.jsonl"),
    *("log.jsonl", "train_metrics.json", "checkpoints/step-000006"),
    *("model/config.json", "model/model.safetensors", "model/README.md"),
    *("predictions/before.jsonl", "predictions/after.jsonl", "scores.json"),
    *("results_before_training.csv", "results_after_training.csv", "report.html"),
    *(f"plots/{name}.png" for name in ("samples", "loss", "before_after", "captions")),
)


def recipe(**overrides: Any) -> Recipe:
    """Build a recipe for a whole run that takes seconds."""
    settings: dict[str, Any] = {
        "name": "tiny",
        "data": {"path": "shapes:40", "num_workers": 0},
        "model": {"size": "blip-tiny"},
        "train": {
            "epochs": 2,
            "micro_batch_size": 6,
            "global_batch_size": 12,
            "precision": "fp32",
            "device": "cpu",
            "validate_images": 2,
            "trackers": [],
        },
        "generate": {"num_beams": 1, "max_new_tokens": 6},
        "evaluate": {"bootstrap_samples": 100},
    }
    return override(settings, overrides)


def override(settings: dict[str, Any], overrides: Mapping[str, Any]) -> Recipe:
    """Build a recipe from settings; `section__key` or `section` in `overrides` replaces values."""
    for key, value in overrides.items():
        *path, last = key.split("__")
        section = settings
        for name in path:
            section = section.setdefault(name, {})
        section[last] = value
    return Recipe.model_validate(settings)
