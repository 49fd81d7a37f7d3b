"""The parts of a text side and its layers for all families.

Shapes: D width of the text side, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captune.models.fast.absorbed import Absorbed
from captune.models.fast.linear import Linear, Norm, Projections, TextDtypes


@dataclass(frozen=True, slots=True)
class AttentionBlock:
    """An attention block.

    Attributes:
        project: Projects tokens to queries, keys and values; in cross-attention to queries only.
        image: Projects the image's states to keys and values; in cross-attention only.
        output: Projects the heads' results.
        norm: Norm before the block or after its residual sum; see `TextSide.norm_first`.
        heads: Number of heads.
        scale: Factor of the queries that `project` does not include.
        absorbed: In cross-attention, weights with which few queries read the vision states without
            keys; `None`: keys are always computed.
    """

    project: Projections
    image: Projections | None
    output: Linear
    norm: Norm
    heads: int
    scale: float
    absorbed: Absorbed | None = None


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A feed-forward block: `up` includes its activation."""

    up: Linear
    down: Linear
    norm: Norm


@dataclass(frozen=True, slots=True)
class FastTextLayer:
    """A decoder layer; `cross` is `None` if the image is a prefix of the text."""

    own: AttentionBlock
    cross: AttentionBlock | None
    feed_forward: FeedForward


@dataclass(frozen=True, slots=True)
class TextHead:
    """The layers from hidden states to logits.

    Attributes:
        transform: Layer before the vocabulary's, if any, in the model's own precision.
        norm: Norm after `transform`, if any.
        vocabulary: Layer of the vocabulary in the precision of inference.
        rows: Weights (V, D) of that layer in the model's own precision.
        bias: Bias (V,) of that layer in the model's own precision, if any.
    """

    transform: Linear | None
    norm: Norm | None
    vocabulary: Linear
    rows: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class TextSide:
    """The text side of a captioner.

    Attributes:
        words: Embeddings of the tokens, (V, D).
        positions: Embeddings of the positions, one row of D per position.
        constant: (D,), the embedding of the only token type, added to every word's; `None`: none.
        norm: Norm of the embeddings, if any.
        layers: Layers in order.
        image_layers: The same layers in the precision of the image, for an image that is a prefix
            of the text; empty where `cross` reads the image.
        norm_first: Whether norms are before the blocks instead of after their residual sums.
        final_norm: Norm after the last layer, if any.
        head: Head that returns logits.
        dtypes: Precisions of products and caches.
    """

    words: torch.Tensor
    positions: torch.Tensor
    constant: torch.Tensor | None
    norm: Norm | None
    layers: tuple[FastTextLayer, ...]
    image_layers: tuple[FastTextLayer, ...]
    norm_first: bool
    final_norm: Norm | None
    head: TextHead
    dtypes: TextDtypes
