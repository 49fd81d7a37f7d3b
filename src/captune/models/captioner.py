"""The one interface behind which every family of captioners lies.

A captioner is a model with its tokenizer and image processor. It is cut in two places only:
`encode_frozen` / `encode_trained` (the frozen part of the vision encoder is computed once an image
and cached), and vision / text (one set of vision states serves all captions or beams of an image).
Shapes: B images, L tokens of a row, K beams, S vision tokens, D width, V vocabulary.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from captune.errors import ModelError
from captune.hardware import is_out_of_memory
from captune.hub import quiet_transformers
from captune.models.attention import AttentionKind, set_attention
from captune.models.caption_encoder import CaptionEncoder, EncodedCaption
from captune.models.freezing import (
    Parts,
    PartSize,
    enter_train_mode,
    freeze_parts,
    part_sizes,
)
from captune.models.packing import pack_captions, packed_causal_mask
from captune.models.vision.image_transform import ImageTransform
from captune.records import IGNORE_INDEX, CaptionBatch
from captune.storage import share_files

if TYPE_CHECKING:
    from PIL import Image

Stage = nn.Module


@dataclass(frozen=True, slots=True)
class CaptionLoss:
    """Summed, not averaged, so that accumulation can normalise by counted tokens.

    Attributes:
        loss_sum: float32 scalar, natural-log cross-entropy summed over `num_tokens`.
        num_tokens: Tokens that took loss.
    """

    loss_sum: torch.Tensor
    num_tokens: int


@dataclass(slots=True)
class VisionContext:
    """What the text side runs on.

    Attributes:
        vision_states: (B, S, D), each image once whatever the number of captions or beams.
        cache: The family's key-value cache, filled step by step; `None`: whole captions at once.
    """

    vision_states: torch.Tensor
    cache: Any = None


class Captioner(ABC):
    """Model, tokenizer and image processor of one family.

    Attributes:
        family: Name in the table of families.
        processor_class: transformers' class that joins image processor and tokenizer.
        attention_kinds: What `set_attention` takes, the fastest on accelerators last.
        model: The transformers model, saved and loaded as it is.
        tokenizer: A transformers tokenizer.
        image_processor: A transformers image processor, PIL backend.
        frozen_stages: How many of the first vision stages are frozen.
    """

    family: ClassVar[str]
    processor_class: ClassVar[Any]
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("eager",)

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.frozen_stages = 0
        self._transform: ImageTransform | None = None

    # What a family fills in.

    @property
    @abstractmethod
    def bos_token_id(self) -> int:
        """Start token: the first one of every caption, in training as in generation."""

    @property
    @abstractmethod
    def eos_token_id(self) -> int:
        """Token that ends a caption."""

    @property
    @abstractmethod
    def pad_token_id(self) -> int:
        """Token that fills rows."""

    @property
    @abstractmethod
    def max_positions(self) -> int:
        """Longest caption in tokens, start and end included."""

    @abstractmethod
    def vision_stages(self) -> list[Stage]:
        """Return the vision encoder as modules in order: pixels to vision states (B, S, D)."""

    @abstractmethod
    def parts(self) -> Parts:
        """The model's modules by the names that `freeze` takes."""

    @abstractmethod
    def start_decoding(self, vision_states: torch.Tensor) -> VisionContext:
        """An empty cache over the vision states (B, S, D)."""

    @abstractmethod
    def hidden_states(
        self,
        context: VisionContext,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Last hidden states (B, L, D) of the text side.

        Args:
            context: Vision states, and the cache of earlier steps where there is one; the new
                tokens are appended to it, so that it holds T text tokens afterwards.
            input_ids: int64 (B, L); the beams of an image lie side by side in its row.
            position_ids: int64 (B, L), place of each token in its own caption.
            attention_mask: Additive (B, 1, L, T) over the text tokens, T = L without a cache.
                Vision tokens are always visible and not part of it.
        """

    @abstractmethod
    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of hidden states (..., D)."""

    # What all families share.

    def save(self, folder: Path) -> None:
        """Writes a plain Hugging Face folder that transformers opens without captune."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
        self.save_processor(folder)
        share_files(folder)

    def processor(self) -> Any:
        """Image processor and tokenizer as the family's transformers processor."""
        return self.processor_class(self.image_processor, self.tokenizer)

    def save_processor(self, folder: Path) -> None:
        """The processor, and the image processor in its own file for older transformers."""
        with quiet_transformers():
            self.processor().save_pretrained(folder)
            self.image_processor.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def mask_dtype(self) -> torch.dtype:
        """Floating type of attention masks.

        Autocast casts a mask with the scores; the weights' own dtype is the safe range.
        """
        dtype: torch.dtype = self.model.dtype
        return dtype

    def pixel_values(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Model inputs float32 (B, C, H, W) of B >= 1 RGB images."""
        return self.image_transform().batch(images)

    def image_transform(self) -> ImageTransform:
        """RGB image to float32 (C, H, W): what worker processes take in place of the model."""
        if self._transform is None:
            self._transform = ImageTransform(self.image_processor)
        return self._transform

    def prefix_ids(self, prompt: str = "") -> tuple[int, ...]:
        """Return the token ids that captions start with: the start token, then the prompt.

        They are given, not generated, and take no loss. A family with a template overrides this;
        the prompt stays last, because captions continue it.

        Args:
            prompt: Words that captions start with; empty in training.
        """
        words = self.tokenizer(prompt, add_special_tokens=False).input_ids if prompt else ()
        return (self.bos_token_id, *words)

    def encode_caption(self, caption: str, max_tokens: int) -> EncodedCaption:
        """Start token, caption, end token: the way generation writes it.

        Args:
            caption: Text without special tokens.
            max_tokens: Length at most, start and end included; these two are never cut off.
        """
        return self.caption_encoder().encode(caption, max_tokens)

    def caption_encoder(self) -> CaptionEncoder:
        """Captions to token ids: what worker processes take in place of the model."""
        return CaptionEncoder(
            tokenizer=self.tokenizer,
            prefix_ids=self.prefix_ids(),
            eos_token_id=self.eos_token_id,
            pad_token_id=self.pad_token_id,
            max_positions=self.max_positions,
        )

    def batch(
        self,
        captions: Sequence[Sequence[str]],
        image_ids: Sequence[str],
        *,
        max_caption_tokens: int,
    ) -> CaptionBatch:
        """Packed rows of the captions of B images; the images are added by the caller."""
        token_ids = [
            [self.encode_caption(caption, max_caption_tokens).token_ids for caption in row]
            for row in captions
        ]
        return pack_captions(
            token_ids,
            image_ids,
            pad_token_id=self.pad_token_id,
            prefix_length=len(self.prefix_ids()),
        )

    def frozen_vision_stages(self) -> list[Stage]:
        """The first vision stages, none of which learns."""
        return self.vision_stages()[: self.frozen_stages]

    def encode_frozen(
        self, pixel_values: torch.Tensor, *, stages: Sequence[Stage] | None = None
    ) -> torch.Tensor:
        """Output of the frozen first stages: the same in every epoch, so worth caching.

        Args:
            pixel_values: (B, C, H, W).
            stages: A faster form of `frozen_vision_stages()`; `None`: these themselves.
        """
        features = pixel_values.to(self.model.dtype)
        with torch.no_grad():
            for stage in self.frozen_vision_stages() if stages is None else stages:
                features = stage(features)
        return features

    def encode_trained(self, vision_features: torch.Tensor) -> torch.Tensor:
        """Vision states (B, S, D) from the output of `encode_frozen`."""
        # A cache may hold them in half precision.
        states = vision_features.to(self.model.dtype)
        for stage in self.vision_stages()[self.frozen_stages :]:
            states = stage(states)
        return states

    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Vision states (B, S, D) of pixels (B, C, H, W)."""
        return self.encode_trained(self.encode_frozen(pixel_values))

    def loss(self, batch: CaptionBatch, label_smoothing: float = 0.0) -> CaptionLoss:
        """Summed next-token cross-entropy of all captions of the batch, in float32 at least.

        Logits are computed for counted tokens only: padding and the last token of each caption
        cost no vocabulary projection.
        """
        return self.loss_of(self.vision_states(batch), batch, label_smoothing=label_smoothing)

    def loss_of(
        self, vision_states: torch.Tensor, batch: CaptionBatch, *, label_smoothing: float = 0.0
    ) -> CaptionLoss:
        """The same, of vision states (B, S, D) that are there already."""
        mask = packed_causal_mask(batch.caption_ids, self.mask_dtype)
        hidden = self.hidden_states(
            VisionContext(vision_states),
            batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=mask,
        )
        targets = batch.labels[:, 1:]
        counted = targets != IGNORE_INDEX
        logits = self.lm_head(hidden[:, :-1][counted])
        loss_sum = functional.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            targets[counted],
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return CaptionLoss(loss_sum, int(counted.sum()))

    def vision_states(self, batch: CaptionBatch) -> torch.Tensor:
        """Vision states (B, S, D) of a batch, from its cached features where it has them."""
        if batch.vision_features is not None:
            return self.encode_trained(batch.vision_features)
        if batch.pixel_values is None:
            raise ValueError("a batch needs pixel_values or vision_features")
        return self.encode(batch.pixel_values)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of generated tokens, special ones dropped."""
        kept = [token for token in token_ids if token >= 0]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return text.strip()

    def freeze(self, names: Sequence[str]) -> None:
        """Freezes exactly the named parts and remembers how much of the vision side is frozen.

        Raises:
            ModelError: A name that this family does not have.
        """
        self.frozen_stages = freeze_parts(self.model, self.parts(), names=names, family=self.family)

    def train_mode(self) -> None:
        """Dropout on where weights learn; frozen parts and batch norms stay in eval mode.

        Micro batches are too small for batch statistics, and some checkpoints (MobileNetV2 with
        folded norms) break when their running statistics move.
        """
        enter_train_mode(self.model)

    def eval_mode(self) -> None:
        """Dropout off everywhere."""
        self.model.eval()

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters that learn, with their names in the model."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def part_sizes(self) -> tuple[PartSize, ...]:
        """Parameters by part, and how many of them learn."""
        return part_sizes(self.model, self.parts())

    def describe_parameters(self) -> str:
        """One line for logs: parameters that learn, of all, by part."""
        sizes = self.part_sizes()
        total, trainable = sum(s.total for s in sizes), sum(s.trainable for s in sizes)
        by_part = ", ".join(f"{s.name} {s.trainable:,} of {s.total:,}" for s in sizes)
        return f"{trainable:,} of {total:,} parameters learn ({by_part})"

    def enable_gradient_checkpointing(self) -> None:
        """Recomputes activations in the backward pass: less memory, about 30 % more time."""
        with warnings.catch_warnings():
            # The new name of the method is younger than the oldest transformers supported.
            warnings.simplefilter("ignore", FutureWarning)
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        # Only reentrant checkpoints need it, and GIT adds its positions in place, which fails on
        # the leaf that this hook makes of a frozen embedding's output.
        self.model.disable_input_require_grads()

    def set_attention(self, kind: AttentionKind) -> None:
        """Chooses how attention is computed; the results differ by rounding only.

        `eager` is faster at small shapes on CPUs, `sdpa` on GPUs and for many image tokens.

        Raises:
            ModelError: This family computes in eager mode only.
        """
        if kind not in self.attention_kinds:
            raise ModelError(
                f"the family {self.family} has no attention {kind!r}",
                fix=f"use {' or '.join(self.attention_kinds)}",
            )
        set_attention(self.attending_model(), kind)

    def move_to(self, device: torch.device) -> None:
        """Move the weights to a device, and choose the attention that is fast there.

        Raises:
            ModelError: They do not fit into its memory.
        """
        try:
            self.model.to(device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"the model does not fit into the memory of {device}",
                fix="end other programs that use the device, or use a smaller model or another"
                " device",
            ) from error
        self.choose_attention(device)

    def choose_attention(self, device: torch.device) -> None:
        """Choose `sdpa` on accelerators where the family has it, `eager` on CPUs."""
        if len(self.attention_kinds) > 1:  # transformers warns of models that have no choice
            self.set_attention("eager" if device.type == "cpu" else self.attention_kinds[-1])

    def attending_model(self) -> Any:
        """The transformers model whose attention can be chosen."""
        return self.model

    def is_vision_parameter(self, name: str) -> bool:
        """Whether the named parameter belongs to the pretrained vision encoder."""
        return any(name.startswith(prefix + ".") for prefix in self.parts().vision_prefixes)
