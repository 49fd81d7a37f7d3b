"""Tiny captioners of every family, with weights wild enough that image and words matter."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from captune.models import SIZES, Captioner, build_size, train_tokenizer
from captune.models.build.join import join_models, new_decoder
from captune.recipe import TokenizerConfig
from captune.recipe.schema import NewDecoderConfig

CAPTIONS = (
    "A red dog runs on the grass .",
    "two small cats sit on a blue mat",
    "a dog and a cat",
    "the man rides a horse in the field, fast!",
    "grass",
)
# Rows of different numbers and lengths of captions.
ROWS = (
    (CAPTIONS[0], CAPTIONS[4], CAPTIONS[2]),
    (CAPTIONS[3],),
    (CAPTIONS[1], CAPTIONS[2]),
)
# Tiny models by row of `captune.models.FAMILIES`: the named sizes, and variants with another CNN, a
# bridge with layers, a projection between widths, or an untied head.
FAMILY_MODELS = {
    "blip": ("blip-tiny",),
    "git": ("git-tiny",),
    "vision-encoder-decoder": (
        *("vit-gpt2-tiny", "vit-bert-tiny", "deit-gpt2-tiny", "beit-gpt2-tiny", "swin-gpt2-tiny"),
        *("wide-vit-gpt2", "untied-bert"),
    ),
    "captune-conv-encoder-decoder": ("mobilenet-gpt2-tiny", "resnet-bert", "convnext-gpt2"),
}
ALL = tuple(name for names in FAMILY_MODELS.values() for name in names)
TINY_SIZES = tuple(name for name in SIZES if name.endswith("-tiny"))
ONE_PER_FAMILY = tuple(names[0] for names in FAMILY_MODELS.values())
# Every family, and both kinds of decoder.
ONE_OF_EACH = (*ONE_PER_FAMILY, "vit-bert-tiny")


@lru_cache(maxsize=1)
def _trained_tokenizer() -> Any:
    return train_tokenizer(CAPTIONS, TokenizerConfig(kind="word", min_count=1, vocab_size=60))


def tokenizer() -> Any:
    """A word tokenizer over all words of `CAPTIONS`."""
    return copy.deepcopy(_trained_tokenizer())


def build(name: str, *, seed: int = 0, spread: float = 1.5) -> Captioner:
    """A new captioner in eval mode; the same seed gives the same weights.

    A larger spread of the weights gives livelier captions and larger rounding errors.
    """
    # A copy takes a third of the time.
    return copy.deepcopy(_build(name, seed, spread))


@lru_cache(maxsize=16)
def _build(name: str, seed: int, spread: float) -> Captioner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        captioner = build_size(name, tokenizer()) if name in SIZES else _build_variant(name)
    enliven(captioner.model, seed, spread)
    if hasattr(captioner.model, "encoder") and hasattr(captioner.model.encoder, "backbone"):
        _settle_batch_norms(captioner.model.encoder.backbone)
    captioner.freeze(())
    captioner.eval_mode()
    return captioner


def build_wild(name: str) -> Captioner:
    """A captioner whose captions differ by image and change from token to token."""
    return build(name, spread=1.5 if name == "git-tiny" else 2.5)


def images(count: int = 3, *, seed: int = 0) -> list[Image.Image]:
    """RGB noise of odd sizes."""
    rng = np.random.default_rng(seed)
    sizes = [(64, 64), (50, 90), (97, 71)]
    return [
        Image.fromarray(rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8))
        for i in range(count)
    ]


def noise_pixels(count: int = 3, *, seed: int = 0) -> torch.Tensor:
    """float32 (count, 3, 64, 64)."""
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def tiny_encoder(kind: str) -> Any:
    """A random vision encoder of transformers for images of 64 pixels."""
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    vit = {**layers, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    swin = {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
    conv = {"depths": [1, 2, 1], "hidden_sizes": [8, 12, 16]}
    config = {
        "vit": lambda: transformers.ViTConfig(**vit),
        "deit": lambda: transformers.DeiTConfig(**vit),
        "beit": lambda: transformers.BeitConfig(**vit),
        "swin": lambda: transformers.SwinConfig(**swin, window_size=4),
        "mobilenet_v2": lambda: transformers.MobileNetV2Config(
            image_size=64, depth_multiplier=0.35
        ),
        "resnet": lambda: transformers.ResNetConfig(embedding_size=8, layer_type="basic", **conv),
        "convnext": lambda: transformers.ConvNextConfig(num_stages=3, **conv),
    }[kind]()
    return transformers.AutoModel.from_config(config, attn_implementation="eager").eval()


def square_processor(side: int = 64) -> Any:
    """Resizes to a square."""
    return transformers.ViTImageProcessorPil(size={"height": side, "width": side})


def _build_variant(name: str) -> Captioner:
    words = tokenizer()
    size = {"vocab_size": len(words), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    gpt2 = transformers.GPT2Config(**size, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    bert = transformers.BertConfig(
        **size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        tie_word_embeddings=name != "untied-bert",
    )
    wide = transformers.GPT2Config(**size, n_embd=48, n_layer=1, n_head=2, n_positions=32)
    encoder, text = {
        "resnet-bert": ("resnet", bert),
        "convnext-gpt2": ("convnext", gpt2),
        "wide-vit-gpt2": ("vit", wide),
        "untied-bert": ("vit", bert),
    }[name]
    return join_models(
        tiny_encoder(encoder),
        new_decoder(text),
        processors=(words, square_processor()),
        new=NewDecoderConfig(width=32, heads=2, bridge_layers=1 if name == "resnet-bert" else 0),
    )


def _settle_batch_norms(backbone: Any) -> None:
    """Statistics of noise, as if trained: without them deep CNNs blow up every rounding error."""
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    backbone.train()
    with torch.no_grad():
        backbone(noise_pixels(4, seed=9))


def enliven(model: Any, seed: int, spread: float) -> None:
    """Larger weights: fresh ones give the same logits for every image."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            std = spread / parameter[0].numel() ** 0.5
            parameter.data.normal_(std=std, generator=generator)
        else:
            noise = torch.empty_like(parameter).normal_(std=0.1, generator=generator)
            parameter.data.add_(noise)
