"""Encoders split into a frozen, cached part and a trained part, at every possible stage."""

from __future__ import annotations

import pytest
import torch

from captune.errors import ModelError
from captune.models import Captioner
from captune.models.vision.stages import stage_encoder
from support.models.tiny_models import ALL, build, noise_pixels, tiny_encoder

# Stem and layers; the last stage includes the final norm or convolution.
STAGES = {"vit": 4, "deit": 4, "mobilenet_v2": 17, "resnet": 4, "convnext": 4, "swin": 1, "beit": 1}
CUTTABLE = (
    "blip-tiny",
    "git-tiny",
    "vit-gpt2-tiny",
    "deit-gpt2-tiny",
    "mobilenet-gpt2-tiny",
    "resnet-bert",
    "convnext-gpt2",
    "wide-vit-gpt2",
)


def own_forward(captioner: Captioner, pixels: torch.Tensor) -> torch.Tensor:
    """Return vision states from the model's own forward pass."""
    model = captioner.model
    if captioner.family == "blip":
        return model.vision_model(pixels).last_hidden_state
    if captioner.family == "git":
        return model.git.visual_projection(model.git.image_encoder(pixels).last_hidden_state)
    states = model.encoder(pixels).last_hidden_state
    return model.enc_to_dec_proj(states) if hasattr(model, "enc_to_dec_proj") else states


@pytest.mark.parametrize("kind", STAGES)
@torch.inference_mode()
def test_the_stages_together_equal_the_encoder(kind: str) -> None:
    encoder = tiny_encoder(kind)
    pixels = noise_pixels(2)
    staged = stage_encoder(encoder)
    assert len(staged.stages) == len(staged.owners) == STAGES[kind]
    states = pixels
    for stage in staged.stages:
        states = stage(states)
    assert torch.equal(states, encoder(pixels).last_hidden_state)


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_encode_equals_the_models_own_vision_forward(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels(2)
    assert torch.equal(captioner.encode(pixels), own_forward(captioner, pixels))


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_every_split_gives_the_same_states(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels(2)
    expected = own_forward(captioner, pixels)
    for cut in range(len(captioner.vision_stages()) + 1):
        captioner.frozen_stages = cut
        assert torch.equal(captioner.encode_trained(captioner.encode_frozen(pixels)), expected)


@pytest.mark.parametrize("name", ALL)
def test_stages_and_parts_to_freeze_are_split_at_the_same_places(name: str) -> None:
    """A stage may use only what its part owns, or cached features would become stale."""
    captioner = build(name)
    stages, owners = captioner.vision_stages(), captioner.parts().vision_layers
    states = noise_pixels(1)
    for stage, owned in zip(stages, owners, strict=False):
        expected = stage(states).detach()
        parameters = {id(p) for module in owned for p in module.parameters()}
        kept = [p.detach().clone() for p in captioner.model.parameters()]
        with torch.no_grad():
            for parameter in captioner.model.parameters():
                if id(parameter) not in parameters:
                    parameter.add_(1.0)
            assert torch.equal(stage(states), expected)
            for parameter, value in zip(captioner.model.parameters(), kept, strict=True):
                parameter.copy_(value)
        states = expected


@pytest.mark.parametrize("name", CUTTABLE)
def test_frozen_first_layers_get_no_gradient_and_the_others_do(name: str) -> None:
    captioner = build(name)
    captioner.freeze(["vision.first-1"])
    captioner.train_mode()
    assert captioner.frozen_stages == 2
    captioner.encode(noise_pixels(1)).square().sum().backward()
    frozen, learning = captioner.parts().vision_layers[:2], captioner.parts().vision_layers[2:]
    assert all(p.grad is None for layer in frozen for m in layer for p in m.parameters())
    assert all(p.grad is not None for layer in learning for m in layer for p in m.parameters())


@pytest.mark.parametrize("name", CUTTABLE)
def test_all_layers_can_be_frozen_one_by_one(name: str) -> None:
    captioner = build(name)
    layers = len(captioner.parts().vision_layers) - 1
    captioner.freeze([f"vision.first-{layers}"])
    assert captioner.frozen_stages == layers + 1
    with pytest.raises(ModelError) as caught:
        captioner.freeze([f"vision.first-{layers + 1}"])
    expected = f"vision.first-{layers + 1} asks for more layers than the model has ({layers})"
    assert caught.value.what == expected
    assert caught.value.fix == f"use a K up to {layers}, or freeze the whole part"


@pytest.mark.parametrize("name", ["swin-gpt2-tiny", "beit-gpt2-tiny"])
@pytest.mark.parametrize("part", ["vision.first-0", "vision.first-1"])
def test_encoders_with_one_stage_cannot_be_partly_frozen(name: str, part: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(name).freeze([part])
    expected = f"{part}: the layers of this vision encoder cannot be frozen separately"
    assert caught.value.what == expected
    assert caught.value.fix.startswith("freeze the whole encoder (vision)")


@pytest.mark.parametrize("name", ["swin-gpt2-tiny", "beit-gpt2-tiny"])
def test_encoders_with_one_stage_can_be_frozen_and_cached(name: str) -> None:
    captioner = build(name)
    captioner.freeze(["vision"])
    pixels = noise_pixels(1)
    features = captioner.encode_frozen(pixels)
    assert not features.requires_grad
    assert torch.equal(features, captioner.model.encoder(pixels).last_hidden_state)
