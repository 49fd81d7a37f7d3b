"""Folding batch norms changes neither the results nor the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from captune.models.vision.folding import fold_batch_norms
from captune.models.vision.stages import stage_encoder
from support.models.tiny_models import tiny_encoder


def encoder_with_statistics(kind: str) -> nn.Module:
    """Return a tiny encoder whose batch norms are not the identity."""
    torch.manual_seed(0)
    encoder: nn.Module = tiny_encoder(kind).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return encoder


def run(stages: list, pixels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        for stage in stages:
            pixels = stage(pixels)
    return pixels


@pytest.mark.parametrize("kind", ["mobilenet_v2", "resnet", "vit"])
def test_folded_stages_equal_the_encoder(kind: str) -> None:
    encoder = encoder_with_statistics(kind)
    pixels = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norms(stage_encoder(encoder).stages)
    with torch.inference_mode():
        states = encoder(pixels).last_hidden_state
    torch.testing.assert_close(run(folded, pixels), states, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for s in folded for m in s.modules())  # type: ignore[union-attr]


def test_folding_does_not_change_the_encoder() -> None:
    encoder = encoder_with_statistics("mobilenet_v2")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    fold_batch_norms(stage_encoder(encoder).stages)
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_stages_without_a_batch_norm_are_not_copied() -> None:
    stages = stage_encoder(tiny_encoder("convnext")).stages
    assert all(a is b for a, b in zip(fold_batch_norms(stages), stages, strict=True))
