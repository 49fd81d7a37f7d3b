"""The text side of GPT-2, with cross-attention."""

from __future__ import annotations

from typing import Any

from transformers.models.gpt2.modeling_gpt2 import GPT2Block, GPT2LMHeadModel

from captune.models.fast.absorbed import absorb
from captune.models.fast.bert import plain_head
from captune.models.fast.layers import (
    AttentionBlock,
    FastTextLayer,
    FeedForward,
    TextSide,
)
from captune.models.fast.linear import (
    Projections,
    TextDtypes,
    UnknownModuleError,
    linear,
    norm,
)


def gpt2_text(model: Any, dtypes: TextDtypes) -> TextSide:
    """Return the text side of a `GPT2LMHeadModel`.

    Raises:
        UnknownModuleError: A part is of an unknown class.
    """
    # Upcast attention computes in float32 whatever the precision.
    if type(model) is not GPT2LMHeadModel or model.config.reorder_and_upcast_attn:
        raise UnknownModuleError(type(model).__name__)
    body = model.transformer
    return TextSide(
        words=body.wte.weight.detach(),
        positions=body.wpe.weight.detach(),
        constant=None,
        norm=None,
        layers=tuple(_layer(block, dtypes, number=number) for number, block in enumerate(body.h)),
        image_layers=(),
        norm_first=True,
        final_norm=norm(body.ln_f),
        head=plain_head(model.lm_head, dtypes.tokens),
        dtypes=dtypes,
    )


def _layer(block: Any, dtypes: TextDtypes, *, number: int) -> FastTextLayer:
    if type(block) is not GPT2Block:
        raise UnknownModuleError(type(block).__name__)
    own, cross, dtype = block.attn, block.crossattention, dtypes.tokens
    return FastTextLayer(
        own=AttentionBlock(
            project=Projections((linear(own.c_attn, dtype),), 3),
            image=None,
            output=linear(own.c_proj, dtype),
            norm=norm(block.ln_1),
            heads=own.num_heads,
            scale=_scale(own, number),
        ),
        cross=AttentionBlock(
            project=Projections((linear(cross.q_attn, dtype),), 1),
            image=Projections((linear(cross.c_attn, dtypes.image),), 2),
            output=linear(cross.c_proj, dtype),
            norm=norm(block.ln_cross_attn),
            heads=cross.num_heads,
            scale=_scale(cross, number),
            absorbed=absorb([cross.c_attn], heads=cross.num_heads, dtypes=dtypes),
        ),
        feed_forward=FeedForward(
            up=linear(block.mlp.c_fc, dtype, activation=block.mlp.act),
            down=linear(block.mlp.c_proj, dtype),
            norm=norm(block.ln_2),
        ),
    )


def _scale(attention: Any, number: int) -> float:
    config = attention.config
    scale = attention.head_dim**-0.5 if config.scale_attn_weights else 1.0
    return scale / (number + 1) if config.scale_attn_by_inverse_layer_idx else scale
