"""A small set of drawn shapes, and recipes that use it, shared by the training tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from captune.data import make_shapes
from captune.models import Captioner, build_captioner
from captune.recipe import Recipe
from captune.records import CaptionRecord
from support.runs.recipes import override

Split = tuple[list[CaptionRecord], list[CaptionRecord]]


@pytest.fixture(scope="session")
def shapes() -> Split:
    """Return 24 training and 6 validation images with five captions each."""
    records = list(make_shapes(30, seed=3, image_size=64))
    return records[:24], records[24:]


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., Recipe]:
    """Return a function that builds recipes for a tiny BLIP in fp32; `section__key` overrides."""

    def make(**overrides: Any) -> Recipe:
        settings: dict[str, Any] = {
            "seed": 5,
            "data": {"num_workers": 0, "views": ["original", "flip"]},
            "model": {"size": "blip-tiny"},
            "train": {
                "epochs": 2,
                "micro_batch_size": 4,
                "global_batch_size": 8,
                "learning_rate": 1e-3,
                "precision": "fp32",
                "device": "cpu",
                "log_every": 1,
                "trackers": [],
                "validate_images": 4,
                "best_metric": "loss",
            },
            "generate": {"num_beams": 1, "max_new_tokens": 8},
        }
        return override(settings, overrides)

    return make


@pytest.fixture
def make_captioner(shapes: Split) -> Callable[[Recipe], Captioner]:
    """Return a function that builds a recipe's captioner for the captions of `shapes`."""

    def make(recipe: Recipe) -> Captioner:
        captions = [caption for record in shapes[0] for caption in record.captions]
        return build_captioner(recipe.model, captions, seed=recipe.seed)

    return make


@pytest.fixture
def no_dropout() -> Callable[[Captioner], Captioner]:
    """Return a function that turns dropout off, so that only the arithmetic is compared."""
    import torch

    def turn_off(captioner: Captioner) -> Captioner:
        for module in captioner.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return captioner

    return turn_off


@pytest.fixture
def build(make_recipe, make_captioner, no_dropout):
    """Return a function that builds a tiny captioner without dropout, always the same."""

    def make(size: str = "blip-tiny") -> Captioner:
        return no_dropout(make_captioner(make_recipe(model__size=size)))

    return make
