"""A tiny random CLIP model in a folder, and the same weights as OpenAI's code names them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
"""As in OpenAI's vocabulary, the marks come last: its code looks for the highest id."""


def save_clip(path: Path, *, width: int = 64, layers: int = 1, seed: int = 0) -> Path:
    """A folder that `CLIPModel.from_pretrained` opens, with tokenizer and image processor."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt")).save_pretrained(path)
    end = len(TOKENS) - 1
    text = {"vocab_size": len(TOKENS), "max_position_embeddings": 24}
    text |= {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    vision = {"image_size": 32, "patch_size": 16}
    small = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    small |= {"num_attention_heads": width // 64}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text | small, vision_config=vision | small, projection_dim=8)
    model = CLIPModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            # Wide enough for captions to differ, and no bias of 0 that hides a lost one.
            weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(path)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(path)
    return path


def name_like_openai(model: CLIPModel) -> dict[str, torch.Tensor]:
    """The model's weights as OpenAI's file has them, written down by hand from its code."""
    own = model.state_dict()
    weights = {
        "logit_scale": own["logit_scale"],
        "token_embedding.weight": own["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": own["text_model.embeddings.position_embedding.weight"],
        "text_projection": own["text_projection.weight"].T.contiguous(),
        "visual.proj": own["visual_projection.weight"].T.contiguous(),
        "visual.class_embedding": own["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": own["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": own["vision_model.embeddings.position_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        weights[f"ln_final.{kind}"] = own[f"text_model.final_layer_norm.{kind}"]
        weights[f"visual.ln_pre.{kind}"] = own[f"vision_model.pre_layrnorm.{kind}"]
        weights[f"visual.ln_post.{kind}"] = own[f"vision_model.post_layernorm.{kind}"]
        for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
            for place in range(model.config.text_config.num_hidden_layers):
                layer, block = (
                    f"{tower}.encoder.layers.{place}",
                    f"{prefix}transformer.resblocks.{place}",
                )
                weights[f"{block}.attn.in_proj_{kind}"] = torch.cat(
                    [own[f"{layer}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                )
                weights[f"{block}.attn.out_proj.{kind}"] = own[f"{layer}.self_attn.out_proj.{kind}"]
                weights[f"{block}.ln_1.{kind}"] = own[f"{layer}.layer_norm1.{kind}"]
                weights[f"{block}.ln_2.{kind}"] = own[f"{layer}.layer_norm2.{kind}"]
                weights[f"{block}.mlp.c_fc.{kind}"] = own[f"{layer}.mlp.fc1.{kind}"]
                weights[f"{block}.mlp.c_proj.{kind}"] = own[f"{layer}.mlp.fc2.{kind}"]
    return weights
