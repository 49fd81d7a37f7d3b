"""BLIP: a ViT and a BERT-like decoder with cross-attention (Li et al. 2022, arXiv:2201.12086)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import BlipProcessor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from captune.models.attention import AttentionKind
from captune.models.captioner import Captioner, Stage, VisionContext
from captune.models.freezing import Parts, unread_bias


class BlipCaptioner(Captioner):
    """`BlipForConditionalGeneration` with its tokenizer and image processor."""

    family: ClassVar[str] = "blip"
    processor_class: ClassVar[Any] = BlipProcessor
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("eager", "sdpa")

    @property
    def bos_token_id(self) -> int:
        """`[DEC]`, the first token of generation; the tokenizer alone would use `[CLS]`."""
        return int(self.model.config.text_config.bos_token_id)

    @property
    def eos_token_id(self) -> int:
        """`[SEP]`, which BLIP's generate uses as end token whatever `eos_token_id` is."""
        return int(self.model.config.text_config.sep_token_id)

    @property
    def pad_token_id(self) -> int:
        """The text config's padding token."""
        return int(self.model.config.text_config.pad_token_id)

    @property
    def max_positions(self) -> int:
        """Size of the position table."""
        return int(self.model.config.text_config.max_position_embeddings)

    def vision_stages(self) -> list[Stage]:
        """Return the embeddings, the layers, and the last layer with the final norm."""
        vision = self.model.vision_model
        *first, last = vision.encoder.layers
        return [vision.embeddings, *first, nn.Sequential(last, vision.post_layernorm)]

    def parts(self) -> Parts:
        """Return all parts."""
        vision, text = self.model.vision_model, self.model.text_decoder
        *first, last = vision.encoder.layers
        layers = text.bert.encoder.layer
        return Parts(
            named={
                "vision": [vision],
                "text": [text],
                "embeddings": [text.bert.embeddings],
                "cross_attention": [layer.crossattention for layer in layers],
            },
            vision_layers=[
                [vision.embeddings],
                *([m] for m in first),
                [last, vision.post_layernorm],
            ],
            text_layers=list(layers),
            vision_prefixes=("vision_model",),
            unused=unread_bias(text.cls),
        )

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
        hidden: torch.Tensor = self.model.text_decoder.bert(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            encoder_hidden_states=context.vision_states,
            past_key_values=context.cache,
            use_cache=context.cache is not None,
            is_decoder=True,
        ).last_hidden_state
        return hidden

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """See `Captioner.lm_head`."""
        logits: torch.Tensor = self.model.text_decoder.cls(hidden_states)
        return logits
