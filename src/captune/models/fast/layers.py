"""What a text side and its layers are, whatever the family; families fill these in.

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
        project: Queries, keys and values of the tokens; of cross-attention only the queries.
        image: Keys and values of the image's states; of cross-attention only.
        output: The projection of the heads' results.
        norm: Before the block or after its residual sum; see `TextSide.norm_first`.
        heads: Number of heads.
        scale: Factor of the queries that `project` does not contain.
        absorbed: Of cross-attention, how few queries read the vision states without keys; `None`:
            they need keys too.
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
    """Hidden states to logits.

    Attributes:
        transform: A layer before the vocabulary's, if any, in the model's own precision.
        norm: After `transform`.
        vocabulary: The vocabulary's layer in the precision of inference.
        rows: Its weights (V, D) in the model's own precision.
        bias: float32 (V,), if any.
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
        words: Embeddings (V, D).
        positions: Embeddings of the positions.
        constant: Added to every embedding, (D,): the embedding of the only token type.
        norm: Of the embeddings, if any.
        layers: In order.
        image_layers: The same layers in the precision of the image, for an image that is a prefix
            of the text; empty where `cross` reads the image.
        norm_first: Norms are before the blocks, not after their residual sums.
        final_norm: After the last layer, if any.
        head: To logits.
        dtypes: Of products and caches.
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
