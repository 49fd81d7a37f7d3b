"""Random weights of a named size are large enough to train."""

from __future__ import annotations

import pytest
from torch import nn

from captune.models import SIZES, build_captioner
from captune.recipe import ModelConfig, TokenizerConfig


@pytest.mark.parametrize("size", [name for name in SIZES if name.endswith("tiny")])
def test_no_matrix_starts_near_zero(size) -> None:
    """transformers' default for BLIP's vision, 1e-10, only suits loading a checkpoint."""
    config = ModelConfig(size=size, new_tokenizer=TokenizerConfig(kind="word", min_count=1))
    captioner = build_captioner(config, ["a red circle above a square"] * 2, seed=0)
    matrices = [
        (name, module.weight)
        for name, module in captioner.model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding)
    ]
    assert len(matrices) > 10
    assert [name for name, weight in matrices if weight.std() < 1e-3] == []


@pytest.mark.parametrize("size", ["blip-tiny", "git-tiny"])
def test_narrow_models_start_with_wider_weights(size) -> None:
    """0.02 suits a width of 768; at 128 it halves the share of correct captions in the demo."""
    config = ModelConfig(size=size, new_tokenizer=TokenizerConfig(kind="word", min_count=1))
    captioner = build_captioner(config, ["a red circle above a square"] * 2, seed=0)
    spreads = {
        name: float(module.weight.detach().std())
        for name, module in captioner.model.named_modules()
        if isinstance(module, nn.Linear) and module.in_features == 128
    }
    assert len(spreads) > 20
    assert {name for name, std in spreads.items() if not 0.044 < std < 0.054} == set()
