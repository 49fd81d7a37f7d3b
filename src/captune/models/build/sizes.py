"""Named sizes: model variants as data, for training from scratch and for tests.

Base and large have the shapes of the published checkpoints; tiny ones use images of 64 pixels and
are fast enough for a laptop's CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The configuration of a named size.

    Attributes:
        family: `blip`, `git` or `encoder-decoder`.
        about: One line for `captune models`.
        parameters: Number of parameters without those of tokens, and for each token.
        vision: Settings of the vision config.
        text: Settings of the text config.
        vision_type: transformers `model_type` of the encoder (encoder-decoder only).
        text_type: transformers `model_type` of the decoder (encoder-decoder only).
        processor: transformers image processor class, PIL backend.
    """

    family: str
    about: str
    parameters: tuple[int, int]
    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    vision_type: str = ""
    text_type: str = ""
    processor: str = "ViTImageProcessorPil"

    def num_parameters(self, vocab_size: int) -> int:
        """Return the number of parameters with a vocabulary of that many tokens."""
        fixed, per_token = self.parameters
        return fixed + per_token * vocab_size


def _vit(
    width: int, layers: int, heads: int, *, image_size: int, patch_size: int
) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": image_size,
        "patch_size": patch_size,
        "initializer_range": initial_spread(width),
    }


def _bert(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "initializer_range": initial_spread(width),
    }


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "n_embd": width,
        "n_layer": layers,
        "n_head": heads,
        "initializer_range": initial_spread(width),
    }


def initial_spread(width: int) -> float:
    """Return the standard deviation of random weights: the usual 0.02 at a width of 768.

    Narrow layers need larger weights, or their signal fades: after 1,500 steps of the demo, at
    width 128, 52 % of the captions were correct with 0.02 and 92 % with 0.05 (docs/log.md).
    transformers' default for BLIP's vision, 1e-10, only suits loading a checkpoint.
    """
    return round(0.02 * math.sqrt(max(1.0, 768 / width)), 4)


_SWIN_TINY = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 32,
    "window_size": 4,
    "initializer_range": initial_spread(128),  # of its last, widest stage
}
_SWIN_BASE = {"image_size": 224, "patch_size": 4, "embed_dim": 128, "window_size": 7}
_MOBILENET_TINY = {"image_size": 64, "depth_multiplier": 0.35}

ABOUT_FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "blip": "BLIP (Li et al. 2022)",
        "git": "GIT (Wang et al. 2022)",
        "vision-encoder-decoder": "ViT, DeiT, BEiT or Swin with GPT-2 or BERT",
        "captune-conv-encoder-decoder": "MobileNetV2, ConvNeXt or ResNet with GPT-2 or BERT",
    }
)
"""One line for each family (transformers' `model_type`), for `captune models`."""

SIZES: Mapping[str, ModelSize] = MappingProxyType(
    {
        "blip-tiny": ModelSize(
            "blip",
            "for laptops: the demo",
            (1_572_096, 129),
            _vit(128, 3, 4, image_size=64, patch_size=16),
            _bert(128, 3, 4),
            processor="BlipImageProcessorPil",
        ),
        "blip-base": ModelSize(
            "blip",
            "as Salesforce/blip-image-captioning-base",
            (200_498_688, 769),
            _vit(768, 12, 12, image_size=384, patch_size=16),
            _bert(768, 12, 12),
            processor="BlipImageProcessorPil",
        ),
        "blip-large": ModelSize(
            "blip",
            "as Salesforce/blip-image-captioning-large",
            (422_817_536, 769),
            _vit(1024, 24, 16, image_size=384, patch_size=16),
            _bert(768, 12, 12),
            processor="BlipImageProcessorPil",
        ),
        "git-tiny": ModelSize(
            "git",
            "for laptops",
            (1_172_992, 257),
            _vit(128, 2, 4, image_size=64, patch_size=8),
            _bert(128, 3, 4),
            processor="CLIPImageProcessorPil",
        ),
        "git-base": ModelSize(
            "git",
            "as microsoft/git-base",
            (129_706_752, 1537),
            _vit(768, 12, 12, image_size=224, patch_size=16),
            _bert(768, 6, 12),
            processor="CLIPImageProcessorPil",
        ),
        "git-large": ModelSize(
            "git",
            "as microsoft/git-large",
            (347_283_712, 1537),
            _vit(1024, 24, 16, image_size=224, patch_size=14),
            _bert(768, 6, 12),
            processor="CLIPImageProcessorPil",
        ),
        "vit-gpt2-tiny": ModelSize(
            "encoder-decoder",
            "for laptops",
            (1_569_792, 128),
            _vit(128, 3, 4, image_size=64, patch_size=8),
            _gpt2(128, 3, 4),
            vision_type="vit",
            text_type="gpt2",
        ),
        "vit-gpt2-base": ModelSize(
            "encoder-decoder",
            "as nlpconnect/vit-gpt2-image-captioning",
            (200_598_528, 768),
            _vit(768, 12, 12, image_size=224, patch_size=16),
            _gpt2(768, 12, 12),
            vision_type="vit",
            text_type="gpt2",
        ),
        "vit-bert-tiny": ModelSize(
            "encoder-decoder",
            "for laptops",
            (1_256_704, 129),
            _vit(128, 3, 4, image_size=64, patch_size=8),
            _bert(128, 2, 2),
            vision_type="vit",
            text_type="bert",
        ),
        "deit-gpt2-tiny": ModelSize(
            "encoder-decoder",
            "for laptops",
            (1_570_048, 128),
            _vit(128, 3, 4, image_size=64, patch_size=8),
            _gpt2(128, 3, 4),
            vision_type="deit",
            text_type="gpt2",
            processor="DeiTImageProcessorPil",
        ),
        "beit-gpt2-tiny": ModelSize(
            "encoder-decoder",
            "for laptops",
            (1_545_344, 128),
            _vit(128, 3, 4, image_size=64, patch_size=8),
            _gpt2(128, 3, 4),
            vision_type="beit",
            text_type="gpt2",
            processor="BeitImageProcessorPil",
        ),
        "swin-gpt2-tiny": ModelSize(
            "encoder-decoder",
            "for laptops",
            (1_428_982, 128),
            {**_SWIN_TINY, "depths": [1, 1, 2], "num_heads": [2, 4, 8]},
            _gpt2(128, 3, 4),
            vision_type="swin",
            text_type="gpt2",
        ),
        "swin-gpt2-base": ModelSize(
            "encoder-decoder",
            "as microsoft/swin-base-patch4-window7-224 with gpt2",
            (201_739_704, 768),
            {**_SWIN_BASE, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
            _gpt2(768, 12, 12),
            vision_type="swin",
            text_type="gpt2",
        ),
        "mobilenet-gpt2-tiny": ModelSize(
            "encoder-decoder",
            "for laptops, convolutional",
            (1_221_600, 128),
            _MOBILENET_TINY,
            _gpt2(128, 2, 4),
            vision_type="mobilenet_v2",
            text_type="gpt2",
        ),
    }
)
