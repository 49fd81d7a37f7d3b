"""Layers with torch's fused operators: other kernels, the same results and the same folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers.activations import GELUTanh, NewGELUActivation

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


def test_gpt2s_activation_is_computed_in_one_pass_and_saved_under_its_name(tmp_path: Path) -> None:
    captioner = build("vit-gpt2-tiny")
    acts = [module for module in captioner.model.modules() if isinstance(module, GELUTanh)]
    layers = captioner.model.decoder.config.n_layer
    assert len(acts) == layers
    values = torch.linspace(-9, 9, 2001, requires_grad=True)
    fused = torch.autograd.grad(acts[0](values).sum(), values)[0]
    plain = torch.autograd.grad(NewGELUActivation()(values).sum(), values)[0]
    torch.testing.assert_close(acts[0](values), NewGELUActivation()(values))
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)
    captioner.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["decoder"]["activation_function"] == "gelu_new"
