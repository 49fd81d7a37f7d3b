"""How a transformers model computes attention, chosen for every layer of it."""

from __future__ import annotations

from typing import Any, Literal

from transformers import PreTrainedConfig

from captune.models.fused_layers import fuse_attention, is_always_plain

AttentionKind = Literal["eager", "sdpa"]


def set_attention(model: Any, kind: AttentionKind) -> None:
    """Let every layer of a transformers model compute attention in one way.

    Args:
        model: A transformers model.
        kind: transformers' `attn_implementation`, also for BLIP and GIT, which refuse it.
    """
    if is_always_plain(model):
        fuse_attention(model, fused=kind == "sdpa")
        return
    model.set_attn_implementation(kind)
    # VisionEncoderDecoderModel gives its encoder a new config, but the encoder's layers keep the
    # object that they were built with, and transformers sets those of whole models only. It would
    # be unnecessary if each layer read the config of the model that it is in.
    for module in model.modules():
        config = getattr(module, "config", None)
        if isinstance(config, PreTrainedConfig):
            config._attn_implementation = kind
