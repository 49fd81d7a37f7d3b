"""GIT: image tokens and caption in one decoder (Wang et al. 2022, arXiv:2205.14100).

There is no cross-attention: the image tokens are a prefix of the self-attention, see each other in
both directions, and are seen by every caption token.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import GitProcessor
from transformers.cache_utils import DynamicCache

from captune.models.attention import AttentionKind
from captune.models.captioner import Captioner, Stage, VisionContext
from captune.models.freezing import Parts


class GitCaptioner(Captioner):
    """`GitForCausalLM` with its tokenizer and image processor."""

    family: ClassVar[str] = "git"
    processor_class: ClassVar[Any] = GitProcessor
    attention_kinds: ClassVar[tuple[AttentionKind, ...]] = ("eager", "sdpa")

    @property
    def bos_token_id(self) -> int:
        """`[CLS]`, the first token of generation."""
        return int(self.model.config.bos_token_id)

    @property
    def eos_token_id(self) -> int:
        """`[SEP]`."""
        return int(self.model.config.eos_token_id)

    @property
    def pad_token_id(self) -> int:
        """`[PAD]`."""
        return int(self.model.config.pad_token_id)

    @property
    def max_positions(self) -> int:
        """Size of the text position table; image tokens have none."""
        return int(self.model.config.max_position_embeddings)

    def vision_stages(self) -> list[Stage]:
        """Return embeddings, layers, final norm, and the projection to the text width."""
        vision = self.model.git.image_encoder.vision_model
        *first, last = vision.encoder.layers
        return [
            nn.Sequential(vision.embeddings, vision.pre_layrnorm),
            *(_LayerStage(layer) for layer in first),
            nn.Sequential(_LayerStage(last), vision.post_layernorm),
            self.model.git.visual_projection,
        ]

    def parts(self) -> Parts:
        """Return the parts; there is no cross-attention, and the projection belongs to text."""
        git = self.model.git
        vision = git.image_encoder.vision_model
        *first, last = vision.encoder.layers
        return Parts(
            named={
                "vision": [git.image_encoder],
                "text": [git.embeddings, git.encoder, git.visual_projection, self.model.output],
                "embeddings": [git.embeddings],
            },
            vision_layers=[
                [vision.embeddings, vision.pre_layrnorm],
                *([layer] for layer in first),
                [last, vision.post_layernorm],
            ],
            text_layers=list(git.encoder.layer),
            vision_prefixes=("git.image_encoder",),
            # One position per video frame; images have none.
            unused=list(getattr(git, "img_temporal_embedding", ())),
        )

    def start_decoding(self, vision_states: torch.Tensor) -> VisionContext:
        """Return an empty cache; the first step adds the image tokens to it."""
        return VisionContext(vision_states, DynamicCache())

    def hidden_states(
        self,
        context: VisionContext,
        input_ids: torch.Tensor,
        *,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """See `Captioner.hidden_states`; the image tokens' own states are dropped."""
        vision_states, cache = context.vision_states, context.cache
        num_vision = vision_states.shape[1]
        text = self.model.git.embeddings(input_ids=input_ids, position_ids=position_ids)
        # Zeros in an additive mask: every text token sees every image token.
        mask = functional.pad(attention_mask, (num_vision, 0))
        if cache is None or cache.get_seq_length() == 0:
            text = torch.cat([vision_states.to(text.dtype), text], dim=1)
            mask = _with_image_rows(mask, num_vision)
        hidden: torch.Tensor = self.model.git.encoder(
            text, attention_mask=mask, past_key_values=cache, use_cache=context.cache is not None
        ).last_hidden_state
        return hidden[:, -input_ids.shape[1] :]

    def lm_head(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """See `Captioner.lm_head`."""
        logits: torch.Tensor = self.model.output(hidden_states)
        return logits


class _LayerStage(nn.Module):
    """A vision layer of GIT, which needs a mask argument and in some versions returns a tuple."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        output = self.layer(hidden, None)
        hidden_states: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return hidden_states


def _with_image_rows(mask: torch.Tensor, num_vision: int) -> torch.Tensor:
    """Add rows for the image tokens above the text rows: they see the image and no text."""
    batch, _, _, width = mask.shape
    rows = mask.new_zeros((batch, 1, num_vision, width))
    rows[..., num_vision:] = torch.finfo(mask.dtype).min
    return torch.cat([rows, mask], dim=2)
