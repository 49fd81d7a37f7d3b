"""Any vision encoder with a GPT-2 or BERT decoder that cross-attends to it.

`VisionEncoderDecoderModel` for encoders that return a sequence (ViT, DeiT, BEiT, Swin), and
`ConvEncoderDecoderModel` for CNNs that return a map (MobileNetV2, ConvNeXt, ResNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import TrOCRProcessor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from captune.errors import ModelError
from captune.models.attention import AttentionKind
from captune.models.captioner import Captioner, Stage, VisionContext
from captune.models.conv_captioner import ConvEncoderDecoderConfig, ConvEncoderDecoderModel
from captune.models.freezing import Parts, unread_bias
from captune.models.fused_layers import fuse_activations
from captune.models.vision.stages import stage_encoder, unread_parameters


@dataclass(frozen=True, slots=True)
class _DecoderNames:
    """Attribute paths of a decoder's parts in its transformers class."""

    body: str
    head: str
    layers: str
    embeddings: tuple[str, ...]
    cross_attention: tuple[str, ...]


_DECODERS = {
    "gpt2": _DecoderNames(
        "transformer", "lm_head", "h", ("wte", "wpe"), ("crossattention", "ln_cross_attn")
    ),
    "bert": _DecoderNames("bert", "cls", "encoder.layer", ("embeddings",), ("crossattention",)),
}

DECODER_TYPES = tuple(_DECODERS)
"""transformers' `model_type` of the decoders that can be joined."""


class EncoderDecoderCaptioner(Captioner):
    """A `VisionEncoderDecoderModel`, or its convolutional variant."""

    family: ClassVar[str] = "encoder-decoder"
    # transformers' name for a processor that combines any image processor with any tokenizer.
    processor_class: ClassVar[Any] = TrOCRProcessor
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("eager", "sdpa")

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        super().__init__(model, tokenizer, image_processor)
        kind = model.decoder.config.model_type
        if kind not in _DECODERS:
            raise ModelError(
                f"decoder of type {kind!r} is not supported",
                where="model.decoder",
                fix=f"use one of: {', '.join(_DECODERS)}",
            )
        fuse_activations(model)
        self._names = _DECODERS[kind]
        self._body = model.decoder.get_submodule(self._names.body)
        self._head = model.decoder.get_submodule(self._names.head)

    @property
    def bos_token_id(self) -> int:
        """The model's `decoder_start_token_id`, the first token of every generated caption."""
        return _special_id(self.model, "decoder_start_token_id", in_decoder="bos_token_id")

    @property
    def eos_token_id(self) -> int:
        """The model's end token; for GPT-2, also the start and padding token."""
        return _special_id(self.model, "eos_token_id", in_decoder="eos_token_id")

    @property
    def pad_token_id(self) -> int:
        """The model's padding token; masks use `caption_ids`, so it may equal the end token."""
        return _special_id(self.model, "pad_token_id", in_decoder="pad_token_id")

    @property
    def max_positions(self) -> int:
        """Size of the decoder's position table."""
        return int(self.model.decoder.config.max_position_embeddings)

    def vision_stages(self) -> list[Stage]:
        """Return the encoder's stages, then the bridge or projection to the decoder."""
        encoder = self.model.encoder
        if isinstance(self.model, ConvEncoderDecoderModel):
            return [*stage_encoder(encoder.backbone).stages, encoder.bridge]
        stages = list(stage_encoder(encoder).stages)
        if hasattr(self.model, "enc_to_dec_proj"):
            stages.append(self.model.enc_to_dec_proj)
        return stages

    def parts(self) -> Parts:
        """Return the parts; the bridge to the decoder belongs to none and is never frozen."""
        is_conv = isinstance(self.model, ConvEncoderDecoderModel)
        encoder = self.model.encoder.backbone if is_conv else self.model.encoder
        layers = list(self._body.get_submodule(self._names.layers))
        cross = [getattr(layer, name) for layer in layers for name in self._names.cross_attention]
        return Parts(
            named={
                "vision": [encoder],
                "text": [self.model.decoder],
                "embeddings": [self._body.get_submodule(n) for n in self._names.embeddings],
                "cross_attention": cross,
            },
            vision_layers=stage_encoder(encoder).owners,
            text_layers=layers,
            vision_prefixes=("encoder.backbone" if is_conv else "encoder",),
            unused=[*unread_parameters(encoder), *unread_bias(self._head)],
        )

    def attending_model(self) -> Any:
        """Return the model; for a CNN encoder, which has no attention, only the decoder."""
        is_conv = isinstance(self.model, ConvEncoderDecoderModel)
        return self.model.decoder if is_conv else self.model

    def start_decoding(self, vision_states: torch.Tensor) -> VisionContext:
        """Return a self-attention cache and one set of cross-attention keys per image."""
        return VisionContext(vision_states, EncoderDecoderCache(DynamicCache(), DynamicCache()))

    def hidden_states(
        self,
        context: VisionContext,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """See `Captioner.hidden_states`."""
        hidden: torch.Tensor = self._body(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=context.vision_states,
            past_key_values=context.cache,
            use_cache=context.cache is not None,
        ).last_hidden_state
        return hidden

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """See `Captioner.lm_head`."""
        logits: torch.Tensor = self._head(hidden_states)
        return logits

    def save(self, folder: Path) -> None:
        """See `Captioner.save`; the folder of a CNN also gets its one modeling file."""
        if isinstance(self.model, ConvEncoderDecoderModel):
            ConvEncoderDecoderConfig.register_for_auto_class()
            ConvEncoderDecoderModel.register_for_auto_class("AutoModelForImageTextToText")
        super().save(folder)


def set_special_ids(model: Any, *, start: int, end: int, pad: int) -> None:
    """Write the ids to every config that transformers reads them from.

    `from_encoder_decoder_pretrained` leaves them unset, and generation falls back silently.
    """
    for config in (model.config, model.config.decoder, model.generation_config):
        config.decoder_start_token_id = start
        config.bos_token_id = start
        config.eos_token_id = end
        config.pad_token_id = pad
    model.config.vocab_size = model.config.decoder.vocab_size


def _special_id(model: Any, name: str, *, in_decoder: str) -> int:
    for source in (model.generation_config, model.config):
        value = getattr(source, name, None)
        if value is not None:
            return int(value[0] if isinstance(value, list) else value)
    value = getattr(model.config.decoder, in_decoder, None)
    if value is None:
        raise ModelError(
            f"the model has no {name}",
            where="config.json",
            fix=f"set {name} in the model's config.json",
        )
    return int(value)
