"""Fixtures of wild models; session-wide, because building one takes longer than decoding."""

from __future__ import annotations

import pytest
import torch

from captune.models import Captioner
from support.models.wild_models import FAMILIES, noise_images, wild_captioner


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[Captioner, torch.Tensor, torch.Tensor]:
    """Captioner, pixels and vision states of one family."""
    captioner = wild_captioner(request.param)
    pixels = noise_images()
    with torch.inference_mode():
        # One by one: matrix products of other shapes round otherwise, and a wild vision encoder
        # makes a lot of that.
        states = torch.cat([captioner.encode(image[None]) for image in pixels])
    return captioner, pixels, states


@pytest.fixture(scope="session")
def blip() -> tuple[Captioner, torch.Tensor]:
    """A wild BLIP and the vision states of some images."""
    captioner = wild_captioner("blip-tiny")
    with torch.inference_mode():
        return captioner, captioner.encode(noise_images(12))
