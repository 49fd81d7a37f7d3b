"""Text sides built like BERT: those of BERT itself, BLIP and GIT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer
from transformers.models.blip.modeling_blip_text import BlipTextEmbeddings, BlipTextLayer
from transformers.models.git.modeling_git import GitEmbeddings, GitLayer

from captune.models.fast.absorbed import absorb
from captune.models.fast.layers import (
    AttentionBlock,
    FastTextLayer,
    FeedForward,
    TextHead,
    TextSide,
)
from captune.models.fast.linear import TextDtypes, UnknownModuleError, linear, norm, projections

_LAYERS = (BertLayer, BlipTextLayer, GitLayer)
_EMBEDDINGS = (BertEmbeddings, BlipTextEmbeddings, GitEmbeddings)


def bert_text(body: Any, head: TextHead, *, dtypes: TextDtypes) -> TextSide:
    """Return the text side of a body with `embeddings` and `encoder.layer`.

    Raises:
        UnknownModuleError: A part is of an unknown class.
    """
    embeddings = body.embeddings
    if type(embeddings) not in _EMBEDDINGS:
        raise UnknownModuleError(type(embeddings).__name__)
    types = getattr(embeddings, "token_type_embeddings", None)
    layers = tuple(_layer(layer, dtypes) for layer in body.encoder.layer)
    image_layers = layers
    if layers[0].cross is not None:
        image_layers = ()
    elif dtypes.image != dtypes.tokens:
        for_image = TextDtypes(dtypes.image, dtypes.image)
        image_layers = tuple(_layer(layer, for_image) for layer in body.encoder.layer)
    return TextSide(
        words=embeddings.word_embeddings.weight.detach(),
        positions=embeddings.position_embeddings.weight.detach(),
        constant=None if types is None else types.weight.detach()[0],
        norm=norm(embeddings.LayerNorm),
        layers=layers,
        image_layers=image_layers,
        norm_first=False,
        final_norm=None,
        head=head,
        dtypes=dtypes,
    )


def bert_head(predictions: Any, dtype: torch.dtype) -> TextHead:
    """Return the head of BERT and BLIP: a transform, its norm, and the vocabulary's layer."""
    transform = predictions.transform
    # In the model's own precision: it is small, and causes a third of half precision's error.
    first = linear(
        transform.dense, transform.dense.weight.dtype, activation=transform.transform_act_fn
    )
    plain = plain_head(predictions.decoder, dtype)
    return replace(plain, transform=first, norm=norm(transform.LayerNorm))


def plain_head(decoder: Any, dtype: torch.dtype) -> TextHead:
    """Return a head that is one linear layer."""
    bias = decoder.bias
    return TextHead(
        transform=None,
        norm=None,
        vocabulary=linear(decoder, dtype),
        rows=decoder.weight.detach(),
        bias=None if bias is None else bias.detach(),
    )


def _layer(layer: nn.Module, dtypes: TextDtypes) -> FastTextLayer:
    if type(layer) not in _LAYERS:
        raise UnknownModuleError(type(layer).__name__)
    module: Any = layer
    crossing = getattr(module, "crossattention", None)
    return FastTextLayer(
        own=_attention(module.attention, dtypes, is_cross=False),
        cross=None if crossing is None else _attention(crossing, dtypes, is_cross=True),
        feed_forward=FeedForward(
            up=linear(
                module.intermediate.dense,
                dtypes.tokens,
                activation=module.intermediate.intermediate_act_fn,
            ),
            down=linear(module.output.dense, dtypes.tokens),
            norm=norm(module.output.LayerNorm),
        ),
    )


def _attention(block: Any, dtypes: TextDtypes, *, is_cross: bool) -> AttentionBlock:
    inner, output, dtype = block.self, block.output, dtypes.tokens
    scale = inner.attention_head_size**-0.5
    is_converted = inner.query.weight.dtype != dtype
    keys = [inner.key, inner.value]
    from_tokens = [inner.query] if is_cross else [inner.query, *keys]
    heads = inner.num_attention_heads
    return AttentionBlock(
        project=projections(from_tokens, dtype, query_scale=scale),
        image=projections(keys, dtypes.image) if is_cross else None,
        output=linear(output.dense, dtype),
        norm=norm(output.LayerNorm),
        heads=heads,
        scale=1.0 if is_converted else scale,
        absorbed=absorb(keys, heads=heads, dtypes=dtypes) if is_cross else None,
    )
