"""One decoding step for all families, from new tokens to hidden states and logits.

Shapes: B images, L new tokens per row, T text tokens in the cache, S image tokens, D width, H
heads, d width of a head, V vocabulary.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.nn import functional

from captune.models.fast.absorbed import FEW_QUERIES, MIN_STATES
from captune.models.fast.attention import attend_to_image, attend_to_text, attend_within
from captune.models.fast.cache import TextCache
from captune.models.fast.layers import (
    AttentionBlock,
    FastTextLayer,
    FeedForward,
    TextHead,
    TextSide,
)

FEW_ROWS = 2
"""Maximum rows per step for which float16 weights beat bf16 on a CPU; see docs/log.md."""

_EXACT_CANDIDATES = 32
"""Logits per row that are recomputed in the model's own precision: more than beam search uses."""


@dataclass(frozen=True, slots=True)
class LaterSide:
    """Another form of a text side, arranged only once the time that this takes pays.

    Attributes:
        make: Returns the form.
        most_images: Maximum number of images per batch that it is used for.
        patience: Number of batches of few images that are decoded without it first.
    """

    make: Callable[[], TextSide]
    most_images: int
    patience: int


@dataclass(slots=True)
class FastContext:
    """The cache of the images being captioned.

    Attributes:
        side: The weights that decode them.
        cache: Keys and values; those of the image only once they pay.
        vision_states: (B, S, D) in the precision of the image's keys, until these are computed.
    """

    side: TextSide
    cache: TextCache = field(default_factory=TextCache)
    vision_states: torch.Tensor | None = None

    def prepare(self, length: int) -> None:
        """Compute the image's keys if that is faster for `length` new tokens per image."""
        states, layers = self.vision_states, self.side.layers
        if states is None:
            return
        has_weights = layers[0].cross is not None and layers[0].cross.absorbed is not None
        # A prompt of any length is read only once.
        is_short = length <= FEW_QUERIES or self.cache.length == 0
        if not has_weights or not is_short or states.shape[1] < MIN_STATES:
            self._compute_keys(states)

    def close_ring(self, places: int) -> None:
        """Reuse the places of tokens from now on, after so many more tokens per image."""
        self.cache.close_ring(places)

    def replace(self, rows: torch.Tensor, other: FastContext) -> None:
        """Replace images `rows`, int64, by those of a context that has only read the prompt."""
        self._align(other)
        if self.vision_states is not None and other.vision_states is not None:
            # Not in place: the states may be the caller's.
            self.vision_states = self.vision_states.index_copy(0, rows, other.vision_states)
        self.cache.replace(rows, other.cache)

    def extend(self, other: FastContext) -> None:
        """Append the images of a context that has only read the prompt."""
        self._align(other)
        if self.vision_states is not None and other.vision_states is not None:
            self.vision_states = torch.cat([self.vision_states, other.vision_states])
        self.cache.extend(other.cache)

    def ensure_keys(self) -> None:
        """Compute the image's keys if that has not been done."""
        if self.vision_states is not None:
            self._compute_keys(self.vision_states)

    def _align(self, other: FastContext) -> None:
        """Compute another context's keys of the image if this one has them."""
        if self.vision_states is None:
            other.ensure_keys()

    def _compute_keys(self, states: torch.Tensor) -> None:
        self.cache.image = [_image_pair(layer, states) for layer in self.side.layers]
        self.vision_states = None


class FastText:
    """A `DecodingBackend` over the weights of a `TextSide`.

    Residual sums, norms and the softmax over text are float32; products, keys and values have the
    side's dtypes. In half precision, the best logits of each row are recomputed from the model's
    own weights: otherwise rounding would decide between close candidates.
    """

    def __init__(self, side: TextSide, later: LaterSide | None = None) -> None:
        """Keep a side, and the form that may replace it later."""
        self._side = side
        self._later = later
        self._arranged: TextSide | None = None
        self._waited = 0

    @property
    def norm_first(self) -> bool:
        """Whether norms are before the blocks, as in GPT-2, instead of after them, as in BERT."""
        return self._side.norm_first

    @property
    def mask_dtype(self) -> torch.dtype:
        """Floating type of masks, which are added to scores in float32 or wider."""
        return torch.promote_types(self._side.dtypes.tokens, torch.float32)

    def start_decoding(self, vision_states: torch.Tensor) -> FastContext:
        """Return the cache of the images, with their keys if images are a prefix of the text."""
        self._arrange(len(vision_states))
        return self._start(self._choose(len(vision_states)), vision_states)

    def join(self, context: FastContext, vision_states: torch.Tensor) -> FastContext:
        """See `JoiningBackend.join`."""
        return self._start(context.side, vision_states)

    def _start(self, side: TextSide, vision_states: torch.Tensor) -> FastContext:
        context = FastContext(side)
        if side.layers[0].cross is not None:
            context.vision_states = vision_states.to(side.dtypes.image)
            return context
        hidden = vision_states.to(self.mask_dtype)
        *first, last = side.image_layers
        for layer in first:
            hidden = self._read_image(layer, hidden, context.cache)
        # The last layer needs only the image's keys: nothing reads its states afterwards.
        self._image_heads(last, hidden, context.cache)
        return context

    def hidden_states(
        self,
        context: FastContext,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """See `DecodingBackend.hidden_states`."""
        context.prepare(input_ids.shape[1])
        side, cache = context.side, context.cache
        hidden = functional.embedding(input_ids, side.words)
        if side.constant is not None:
            hidden = hidden + side.constant
        hidden = (hidden + functional.embedding(position_ids, side.positions)).to(self.mask_dtype)
        if side.norm is not None:
            hidden = side.norm(hidden)
        cache.reserve(input_ids.shape[1])
        free = cache.capacity - attention_mask.shape[3]
        mask = functional.pad(attention_mask, (0, free), value=torch.finfo(self.mask_dtype).min)
        for number, layer in enumerate(side.layers):
            hidden = self._step(layer, hidden, context=context, number=number, mask=mask)
        cache.length += input_ids.shape[1]
        return hidden if side.final_norm is None else side.final_norm(hidden)

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the logits (..., V), float32 or wider, of hidden states (..., D)."""
        side = self._choose(hidden_states.shape[:-1].numel())
        head = side.head
        if head.transform is not None and head.norm is not None:
            transformed = head.transform(hidden_states)
            hidden_states = head.norm(transformed.to(self.mask_dtype))
        logits = head.vocabulary(hidden_states)
        if head.rows.dtype == side.dtypes.tokens:
            return logits
        return _refine(logits.float(), hidden_states.float(), head)

    def settle(self) -> None:
        """Decode every batch with the same weights from now on, whatever its size and its turn."""
        later, self._later = self._later, None
        if later is not None and later.most_images == sys.maxsize:
            self._side = self._arranged or later.make()
        self._arranged = None

    def _arrange(self, images: int) -> None:
        """Arrange the later form if that pays for a batch of this many images."""
        later = self._later
        if later is None or self._arranged is not None or images > later.most_images:
            return
        if images <= FEW_ROWS and self._waited < later.patience:
            self._waited += 1
        else:
            self._arranged = later.make()

    def _choose(self, rows: int) -> TextSide:
        """Return the side for this many rows: the later one if it is arranged and serves them."""
        if self._later is None or self._arranged is None or rows > self._later.most_images:
            return self._side
        return self._arranged

    def _step(
        self,
        layer: FastTextLayer,
        hidden: torch.Tensor,
        *,
        context: FastContext,
        number: int,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        own, cross, cache = layer.own, layer.cross, context.cache
        query, key, value = self._heads(own, self._entering(own, hidden))
        image = cache.image[number] if cross is None else None
        text = cache.write(number, (key, value))
        hidden = self._leave(own, hidden, attend_to_text(query, text, mask=mask, image=image))
        if cross is not None:
            (query,) = self._heads(cross, self._entering(cross, hidden))
            states = context.vision_states
            mixed = (
                attend_to_image(query, cache.image[number])
                if states is None or cross.absorbed is None
                else cross.absorbed.attend(query, states)
            )
            hidden = self._leave(cross, hidden, mixed)
        return self._feed(layer.feed_forward, hidden)

    def _read_image(
        self, layer: FastTextLayer, hidden: torch.Tensor, cache: TextCache
    ) -> torch.Tensor:
        """Pass an image that is a prefix of the text through a layer, and cache its keys."""
        query = self._image_heads(layer, hidden, cache)
        mixed = attend_within(query, cache.image[-1], scale=1.0)
        return self._feed(layer.feed_forward, self._add(layer.own, hidden, mixed))

    def _image_heads(
        self, layer: FastTextLayer, hidden: torch.Tensor, cache: TextCache
    ) -> torch.Tensor:
        query, key, value = self._heads(layer.own, self._entering(layer.own, hidden))
        cache.image.append((key.contiguous(), value.contiguous()))
        return query

    def _entering(self, block: AttentionBlock | FeedForward, hidden: torch.Tensor) -> torch.Tensor:
        return block.norm(hidden) if self._side.norm_first else hidden

    def _heads(self, block: AttentionBlock, entering: torch.Tensor) -> list[torch.Tensor]:
        """Return scaled queries, and in self-attention keys and values, each (B, H, L, d)."""
        batch, length, _ = entering.shape
        parts = block.project(entering)
        split = [p.view(batch, length, block.heads, -1).transpose(1, 2) for p in parts]
        if block.scale != 1.0:
            split[0] = split[0] * block.scale
        return split

    def _leave(
        self, block: AttentionBlock, hidden: torch.Tensor, mixed: torch.Tensor
    ) -> torch.Tensor:
        batch, length, _ = hidden.shape
        return self._add(block, hidden, mixed.transpose(1, 2).reshape(batch, length, -1))

    def _add(
        self, block: AttentionBlock, hidden: torch.Tensor, mixed: torch.Tensor
    ) -> torch.Tensor:
        total = hidden + block.output(mixed)
        return total if self._side.norm_first else block.norm(total)

    def _feed(self, block: FeedForward, hidden: torch.Tensor) -> torch.Tensor:
        total = hidden + block.down(block.up(self._entering(block, hidden)))
        return total if self._side.norm_first else block.norm(total)


def _image_pair(layer: FastTextLayer, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    block = layer.cross
    if block is None or block.image is None:
        raise ValueError("a layer without cross-attention")
    batch, length, _ = states.shape
    key, value = (
        part.view(batch, length, block.heads, -1).transpose(1, 2).contiguous()
        for part in block.image(states)
    )
    return key, value


def _refine(logits: torch.Tensor, hidden: torch.Tensor, head: TextHead) -> torch.Tensor:
    """Recompute the best logits (..., V) of each row from the model's own weights, in place."""
    best = logits.topk(min(_EXACT_CANDIDATES, logits.shape[-1])).indices
    weights = functional.embedding(best, head.rows).float()
    exact = (weights @ hidden[..., None])[..., 0]
    if head.bias is not None:
        exact = exact + head.bias.float()[best]
    return logits.scatter_(-1, best, exact)
