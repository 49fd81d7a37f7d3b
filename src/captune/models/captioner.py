"""The interface that every captioner family implements.

A captioner is a model with its tokenizer and image processor. It is split in two places only:
`encode_frozen` / `encode_trained` (the frozen part of the vision encoder is computed once per image
and cached), and vision / text (all captions or beams of an image share its vision states).
Shapes: B images, L tokens per row, K beams, S vision tokens, D width, V vocabulary.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from captune.errors import ModelError
from captune.hardware import is_out_of_memory
from captune.hub import quiet_transformers
from captune.models.attention import AttentionKind, set_attention
from captune.models.caption_encoder import CaptionEncoder, EncodedCaption
from captune.models.freezing import (
    Parts,
    PartSize,
    describe_sizes,
    enter_train_mode,
    freeze_parts,
    part_sizes,
)
from captune.models.packing import CaptionLoss, packed_causal_mask, sum_token_losses
from captune.models.vision.image_transform import ImageTransform
from captune.records import CaptionBatch, VisionInputs
from captune.storage import share_files

if TYPE_CHECKING:
    from PIL import Image

Stage = nn.Module


@dataclass(slots=True)
class VisionContext:
    """The input of the text side beside its tokens.

    Attributes:
        vision_states: (B, S, D), each image once for any number of captions or beams.
        cache: The family's growing key-value cache; `None`: whole captions at once.
    """

    vision_states: torch.Tensor
    cache: Any = None


class Captioner(ABC):
    """Model, tokenizer and image processor of one family.

    Attributes:
        family: Name in the table of families.
        processor_class: transformers' class that joins image processor and tokenizer.
        attention_kinds: Allowed by `set_attention`, the fastest on accelerators last.
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

    # Each family implements these.

    @property
    @abstractmethod
    def bos_token_id(self) -> int:
        """Start token: the first one of every caption, in training and in generation."""

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
        """Maximum tokens per caption, prefix and end token included."""

    @abstractmethod
    def vision_stages(self) -> list[Stage]:
        """Return the vision encoder as modules in order: pixels to vision states (B, S, D)."""

    @abstractmethod
    def parts(self) -> Parts:
        """Return the model's modules by the names that `freeze` accepts."""

    @abstractmethod
    def start_decoding(self, vision_states: torch.Tensor) -> VisionContext:
        """Return an empty cache over the vision states (B, S, D)."""

    @abstractmethod
    def hidden_states(
        self,
        context: VisionContext,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the last hidden states (B, L, D) of the text side.

        Args:
            context: Vision states and the cache of earlier steps, if any; the new tokens are
                appended to it, so that it holds T text tokens afterwards.
            input_ids: int64 (B, L); the beams of an image are side by side in its row.
            position_ids: int64 (B, L), position of each token in its caption.
            attention_mask: Additive (B, 1, L, T) over the text tokens; T = L without a cache.
                Vision tokens are always visible and have no columns.
        """

    @abstractmethod
    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the logits (..., V) of hidden states (..., D)."""

    # All families share these.

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder that transformers opens without captune."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
        self.save_processor(folder)
        share_files(folder)

    def processor(self) -> Any:
        """Return the family's transformers processor."""
        return self.processor_class(self.image_processor, self.tokenizer)

    def save_processor(self, folder: Path) -> None:
        """Write the processor, and the image processor in its own file for older transformers."""
        with quiet_transformers():
            self.processor().save_pretrained(folder)
            self.image_processor.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def mask_dtype(self) -> torch.dtype:
        """Floating type of attention masks.

        Autocast casts a mask with the scores; the weights' own dtype is the safe range.
        """
        dtype: torch.dtype = self.model.dtype
        return dtype

    def vision_inputs(self, images: Sequence[Image.Image]) -> VisionInputs:
        """Return the model inputs of B >= 1 RGB images."""
        transform = self.image_transform()
        return VisionInputs.join([transform(image) for image in images])

    def pixel_values(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return the inputs of a model that takes only pixels, (B, C, H, W), of B >= 1 images."""
        return self.vision_inputs(images).pixel_values

    def image_transform(self) -> Callable[[Image.Image], VisionInputs]:
        """Return the function of one RGB image to its inputs, for worker processes.

        A family with other inputs than `pixel_values` overrides this and `stage_input`.
        """
        if self._transform is None:
            self._transform = ImageTransform(self.image_processor)
        return self._transform

    def prefix_ids(self, prompt: str = "") -> tuple[int, ...]:
        """Return the token ids that captions start with: the start token, then the prompt.

        They are given, not generated, and excluded from the loss. A family with a template
        overrides this; the prompt stays last, because captions continue it.

        Args:
            prompt: Words that captions start with; empty in training.
        """
        words = self.tokenizer(prompt, add_special_tokens=False).input_ids if prompt else ()
        return (self.bos_token_id, *words)

    def encode_caption(self, caption: str, max_tokens: int) -> EncodedCaption:
        """See `CaptionEncoder.encode`."""
        return self.caption_encoder().encode(caption, max_tokens)

    def caption_encoder(self) -> CaptionEncoder:
        """Return the encoder of captions to token ids, for worker processes."""
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
        """Return the packed captions of B images; the caller adds the images."""
        encoder = self.caption_encoder()
        token_ids = [
            [encoder.encode(caption, max_caption_tokens).token_ids for caption in row]
            for row in captions
        ]
        return encoder.pack(token_ids, image_ids)

    def frozen_vision_stages(self) -> list[Stage]:
        """Return the first vision stages, which are frozen."""
        return self.vision_stages()[: self.frozen_stages]

    def stage_input(self, inputs: VisionInputs) -> torch.Tensor:
        """Return what the first vision stage takes; 8-bit `pixel_values` are normalised here."""
        pixels = inputs.pixel_values
        if pixels.dtype == torch.uint8 and isinstance(
            transform := self.image_transform(), ImageTransform
        ):
            pixels = transform.normalise(pixels)
        return pixels.to(self.model.dtype)

    def encode_frozen(
        self, inputs: VisionInputs | torch.Tensor, *, stages: Sequence[Stage] | None = None
    ) -> torch.Tensor:
        """Return the output of the frozen first stages, which is the same in every epoch.

        Args:
            inputs: From `image_transform`; or, the plain case, `pixel_values` (B, C, H, W).
            stages: A faster form of `frozen_vision_stages()`; `None`: those stages.
        """
        if isinstance(inputs, torch.Tensor):
            inputs = VisionInputs.of_pixels(inputs)
        features = self.stage_input(inputs)
        with torch.no_grad():
            for stage in self.frozen_vision_stages() if stages is None else stages:
                features = stage(features)
        return features

    def encode_trained(self, vision_features: torch.Tensor) -> torch.Tensor:
        """Return the vision states (B, S, D) of the output of `encode_frozen`."""
        # A cache may hold them in half precision.
        states = vision_features.to(self.model.dtype)
        for stage in self.vision_stages()[self.frozen_stages :]:
            states = stage(states)
        return states

    def encode(self, inputs: VisionInputs | torch.Tensor) -> torch.Tensor:
        """Return the vision states (B, S, D) of inputs; see `encode_frozen`."""
        return self.encode_trained(self.encode_frozen(inputs))

    def loss(self, batch: CaptionBatch, label_smoothing: float = 0.0) -> CaptionLoss:
        """Return the summed next-token cross-entropy of all captions, in float32 or wider.

        Logits are computed only where a label follows: not for padding or the last token of a
        caption.
        """
        return self.loss_of(self.vision_states(batch), batch, label_smoothing=label_smoothing)

    def loss_of(
        self, vision_states: torch.Tensor, batch: CaptionBatch, *, label_smoothing: float = 0.0
    ) -> CaptionLoss:
        """Return the loss from vision states (B, S, D) that are already computed."""
        mask = packed_causal_mask(batch.caption_ids, self.mask_dtype)
        hidden = self.hidden_states(
            VisionContext(vision_states),
            batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=mask,
        )
        places = batch.find_label_places()
        targets = batch.labels.flatten()[places + 1]
        logits = self.lm_head(hidden.flatten(0, 1)[places])
        return sum_token_losses(logits, targets, label_smoothing=label_smoothing)

    def vision_states(self, batch: CaptionBatch) -> torch.Tensor:
        """Return the vision states (B, S, D) of a batch, from its cached features if it has any."""
        if batch.vision_features is not None:
            return self.encode_trained(batch.vision_features)
        if batch.vision_inputs is None:
            raise ValueError("a batch needs vision_inputs or vision_features")
        return self.encode(batch.vision_inputs)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of generated tokens, without special tokens."""
        kept = [token for token in token_ids if token >= 0]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return text.strip()

    def freeze(self, names: Sequence[str]) -> None:
        """Freeze exactly the named parts and store how many vision stages are frozen.

        Raises:
            ModelError: A name that this family does not have.
        """
        self.frozen_stages = freeze_parts(self.model, self.parts(), names=names, family=self.family)

    def train_mode(self) -> None:
        """Turn dropout on where weights learn; frozen parts and batch norms stay in eval mode.

        Micro batches are too small for batch statistics, and moving running statistics break some
        checkpoints (MobileNetV2 with folded norms).
        """
        enter_train_mode(self.model)

    def eval_mode(self) -> None:
        """Turn dropout off everywhere."""
        self.model.eval()

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters that learn, with their names in the model."""
        named = self.model.named_parameters()
        yield from ((name, parameter) for name, parameter in named if parameter.requires_grad)

    def part_sizes(self) -> tuple[PartSize, ...]:
        """Return the number of parameters per part, and of those that learn."""
        return part_sizes(self.model, self.parts())

    def describe_parameters(self) -> str:
        """See `describe_sizes`."""
        return describe_sizes(self.part_sizes())

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass: less memory, about 30 % more time."""
        with warnings.catch_warnings():
            # The new name of the method is younger than the oldest transformers supported.
            warnings.simplefilter("ignore", FutureWarning)
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        # Only reentrant checkpoints need input gradients, and GIT adds its positions in place,
        # which fails on the leaf that this hook turns a frozen embedding's output into.
        self.model.disable_input_require_grads()

    def set_attention(self, kind: AttentionKind) -> None:
        """Choose how attention is computed; results differ by rounding only.

        `eager` is faster on CPUs with small shapes, `sdpa` on GPUs and with many image tokens.

        Raises:
            ModelError: The family does not support this kind.
        """
        if kind not in self.attention_kinds:
            raise ModelError(
                f"the family {self.family} does not support {kind!r} attention",
                fix=f"use {' or '.join(self.attention_kinds)}",
            )
        set_attention(self.attending_model(), kind)

    def move_to(self, device: torch.device) -> None:
        """Move the weights to a device and choose the attention that is fast there.

        Raises:
            ModelError: The weights do not fit into its memory.
        """
        try:
            self.model.to(device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"the model does not fit into the memory of {device}",
                fix="stop other programs on the device, or use another device or a smaller model",
            ) from error
        self.choose_attention(device)

    def choose_attention(self, device: torch.device) -> None:
        """Choose `sdpa` on accelerators if the family supports it, `eager` on CPUs."""
        if len(self.attention_kinds) > 1:  # transformers warns about models without a choice
            self.set_attention("eager" if device.type == "cpu" else self.attention_kinds[-1])

    def attending_model(self) -> Any:
        """Return the transformers model whose attention can be chosen."""
        return self.model

    def is_vision_parameter(self, name: str) -> bool:
        """Return whether the named parameter belongs to the pretrained vision encoder."""
        return any(name.startswith(prefix + ".") for prefix in self.parts().vision_prefixes)
