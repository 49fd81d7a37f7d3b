"""Named sizes: the shapes of the published checkpoints, and tiny ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from captune.errors import ModelError
from captune.models import FAMILIES, SIZES, Captioner, build_captioner, build_size
from captune.recipe import ModelConfig, TokenizerConfig
from support.models.tiny_models import TINY_SIZES, build, images, tokenizer

# Parameters of the published repositories. BLIP's own vocabulary has one more token, [ENC]
# (768 + 1), and their files count the head that shares the embedding (30,524 * 768) twice.
PUBLISHED = {
    "blip-base": ("bert-base-uncased-vocab", 247_414_076 - 30_524 * 768 - 769),
    "blip-large": ("bert-base-uncased-vocab", 469_732_924 - 30_524 * 768 - 769),
    "git-base": ("bert-base-uncased-vocab", 176_619_066),
    "git-large": ("bert-base-uncased-vocab", 394_196_026),
    "vit-gpt2-base": ("gpt2-tokenizer", 239_195_904),
}


def count(captioner: Captioner) -> int:
    return sum(p.numel() for p in captioner.model.parameters())


@pytest.mark.real_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_base_and_large_have_the_size_of_the_published_models(name: str, real_data: Path) -> None:
    from transformers import AutoTokenizer

    folder, published = PUBLISHED[name]
    words: Any = AutoTokenizer.from_pretrained(real_data / "weights" / folder)
    with torch.device("meta"):
        assert count(build_size(name, words)) == published


@pytest.mark.parametrize("name", TINY_SIZES)
def test_tiny_sizes_are_tiny(name: str) -> None:
    assert count(build(name)) < 2_000_000


@pytest.mark.parametrize("name", TINY_SIZES)
def test_new_models_use_images_of_their_size(name: str) -> None:
    captioner = build(name)
    assert captioner.pixel_values(images(2)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny", "swin-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_another_image_size_can_be_set(name: str) -> None:
    captioner = build_size(name, tokenizer(), image_size=128)
    pixels = captioner.pixel_values(images(1))
    assert pixels.shape == (1, 3, 128, 128)
    assert captioner.encode(pixels).shape[1] > build(name).encode(pixels[..., :64, :64]).shape[1]


def test_the_settings_of_the_recipe_reach_the_model() -> None:
    config = ModelConfig(
        size="git-tiny",
        image_size=32,
        freeze=("vision.first-1",),
        new_tokenizer=TokenizerConfig(kind="word", min_count=1),
    )
    captioner = build_captioner(config, ["a dog", "a cat"], seed=1)
    assert captioner.model.config.vision_config.image_size == 32
    assert captioner.frozen_stages == 2
    assert len(captioner.tokenizer) == 6 + 3


def test_every_size_belongs_to_a_known_family() -> None:
    known = {family.captioner_class.family for family in FAMILIES.values()}
    assert {size.family for size in SIZES.values()} == known


def test_the_error_for_an_unknown_size_names_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        build_size("vit-gtp2-tiny", tokenizer())
    assert caught.value.what == "unknown model size 'vit-gtp2-tiny' (did you mean 'vit-gpt2-tiny'?)"
