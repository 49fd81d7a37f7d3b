"""BLIP and GIT with fused attention: other kernels, the same results and the same folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from support.counting_sdpa import counting_sdpa
from support.models.tiny_models import build, noise_pixels

NAMES = ("blip-tiny", "git-tiny")


@pytest.mark.parametrize("name", NAMES)
def test_a_fused_model_saves_the_folder_that_a_plain_one_saves(name: str, tmp_path: Path) -> None:
    plain, fused = build(name), build(name)
    fused.set_attention("sdpa")
    plain.save(tmp_path / "plain")
    fused.save(tmp_path / "fused")
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "fused" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", NAMES)
def test_transformers_generates_the_same_captions_with_fused_attention(name: str) -> None:
    captioner = build(name)
    settings = {"pixel_values": noise_pixels(), "max_new_tokens": 6}
    expected = captioner.model.generate(**settings)
    captioner.set_attention("sdpa")
    assert torch.equal(captioner.model.generate(**settings), expected)


@pytest.mark.parametrize("name", NAMES)
def test_eager_restores_the_layers_own_attention(name: str) -> None:
    captioner = build(name)
    classes = [type(module) for module in captioner.model.modules()]
    captioner.set_attention("sdpa")
    assert [type(module) for module in captioner.model.modules()] != classes
    captioner.set_attention("eager")
    assert [type(module) for module in captioner.model.modules()] == classes


@pytest.mark.parametrize("name", NAMES)
def test_dropout_of_fused_attention_is_off_outside_training(name: str) -> None:
    captioner = build(name)
    for module in captioner.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    captioner.set_attention("sdpa")
    captioner.eval_mode()
    pixels = noise_pixels()
    with torch.no_grad(), counting_sdpa() as calls:
        first, second = captioner.encode(pixels), captioner.encode(pixels)
    assert calls
    assert torch.equal(first, second)
