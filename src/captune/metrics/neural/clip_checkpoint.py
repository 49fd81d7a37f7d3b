"""CLIP weights with OpenAI's names, as in PAC-S's checkpoint, converted to transformers' names.

The sizes of the model follow from the shapes of its weights. OpenAI's models have heads of width
64 and the quick GELU; a model with others must be given in transformers' format.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.errors import CHECK_PATH, ModelError
from captune.storage import refuse_irregular

if TYPE_CHECKING:
    import torch

_HEAD = 64
_FIX = "give the checkpoint that the authors of PAC-S publish, or a folder of a CLIP model"
_SKIPPED = frozenset(["input_resolution", "context_length", "vocab_size"])
_NAMES = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
# OpenAI multiplies by these from the right, transformers by their transposes.
_TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_PARTS = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def load_clip_checkpoint(path: Path) -> Any:
    """Return a CLIP model from a file in OpenAI's format.

    Args:
        path: File of weights, at the top level or under `state_dict`. Only tensors are read, no
            code.

    Returns:
        transformers' CLIPModel.

    Raises:
        ModelError: The file is missing or damaged, or does not contain such a model.
    """
    from transformers import CLIPModel

    weights = _read_weights(path)
    try:
        renamed = rename_weights(weights)
        model = CLIPModel(_read_sizes(weights))
        model.load_state_dict(renamed)
    except (KeyError, RuntimeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path} does not contain a CLIP model: {reason[:200]}", where=str(path), fix=_FIX
        ) from error
    return model


def rename_weights(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights under transformers' names.

    Args:
        weights: Weights by OpenAI's names.

    Raises:
        KeyError: A name is unknown.
    """
    renamed: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        block = _BLOCK.fullmatch(name)
        if block is not None:
            tower = "vision_model" if block[1] else "text_model"
            renamed |= _rename_part(f"{tower}.encoder.layers.{block[2]}", block[3], value)
        elif name in _TRANSPOSED:
            renamed[_TRANSPOSED[name]] = value.T.contiguous()
        elif name not in _SKIPPED:
            renamed[_NAMES[name]] = value
    return renamed


def _rename_part(layer: str, part: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        names = [f"{layer}.self_attn.{letter}_proj.{kind}" for letter in "qkv"]
        return dict(zip(names, value.chunk(3), strict=True))
    name, _, kind = part.rpartition(".")
    return {f"{layer}.{_PARTS[name]}.{kind}": value}


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    import torch

    try:
        refuse_irregular(path, ModelError, fix=_FIX)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", fix=CHECK_PATH) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path} is not a file of weights: {(str(error) or repr(error)).splitlines()[0]}",
            fix=_FIX,
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path} has no weights but type {type(content).__name__}", fix=_FIX)
    return {
        str(name).removeprefix("module."): value.float()
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def _read_sizes(weights: Mapping[str, torch.Tensor]) -> Any:
    from transformers import CLIPConfig

    convolution = weights["visual.conv1.weight"]
    patch = convolution.shape[-1]
    # One position is the class token's.
    side = round((weights["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    words, width = weights["token_embedding.weight"].shape
    text = {
        "vocab_size": words,
        "max_position_embeddings": weights["positional_embedding"].shape[0],
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": words - 1,
    }
    return CLIPConfig(
        text_config=text | _tower_sizes(weights, "transformer.", width),
        vision_config={"image_size": side * patch, "patch_size": patch}
        | _tower_sizes(weights, "visual.transformer.", convolution.shape[0]),
        projection_dim=weights["text_projection"].shape[1],
    )


def _tower_sizes(
    weights: Mapping[str, torch.Tensor], tower: str, width: int
) -> dict[str, int | str]:
    layers = {
        name.split(".resblocks.")[1].split(".")[0]
        for name in weights
        if name.startswith(f"{tower}resblocks.")
    }
    return {
        "hidden_size": width,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // _HEAD),
        "intermediate_size": weights[f"{tower}resblocks.0.mlp.c_fc.weight"].shape[0],
        "hidden_act": "quick_gelu",
    }
