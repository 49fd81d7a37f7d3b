"""Fixtures of models with large random weights; session-wide, because building one is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from captune.models import Captioner, fast_text
from captune.models.fast.text import FastText
from support.models.wild_models import SPREADS, noise_images, wild_captioner


@pytest.fixture(scope="session", params=SPREADS)
def family(request: pytest.FixtureRequest) -> tuple[Captioner, torch.Tensor, torch.Tensor]:
    """Return captioner, pixels and vision states of one family."""
    captioner = wild_captioner(request.param)
    pixels = noise_images()
    with torch.inference_mode():
        # One by one: matrix products of other shapes round differently, and large random weights
        # amplify that.
        states = torch.cat([captioner.encode(image[None]) for image in pixels])
    return captioner, pixels, states


@pytest.fixture(scope="session")
def blip() -> tuple[Captioner, torch.Tensor]:
    """Return a BLIP with large random weights and the vision states of some images."""
    captioner = wild_captioner("blip-tiny")
    with torch.inference_mode():
        return captioner, captioner.encode(noise_images(12))


@pytest.fixture(params=["fast", "transformers"])
def backend_of(request: pytest.FixtureRequest) -> Callable[[Captioner], Any]:
    """Return what decodes with a captioner: the fast text side, or its slow twin."""

    def choose(captioner: Captioner) -> Any:
        if request.param == "transformers":
            return captioner
        text = fast_text(captioner, torch.float32)
        assert isinstance(text, FastText)
        return text

    return choose
