"""A convolutional encoder with a text decoder, as one transformers model in one file.

`VisionEncoderDecoderModel` needs an encoder that returns a sequence; a CNN returns a map. This file
adds the missing bridge: flatten the map, project it to the decoder's width, add learned positions
and, optionally, run a few Transformer layers over it. It imports only transformers and torch,
because it is copied into every saved folder: transformers loads that folder with
`trust_remote_code=True`, without captune.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)
from transformers.modeling_outputs import BaseModelOutput


class ConvGridConfig(PreTrainedConfig):
    """A CNN backbone and the bridge on top of it.

    Args:
        backbone: Config of the CNN, as a dict that includes its `model_type`.
        backbone_width: Channels of the CNN's last map.
        grid_size: Cells of the last map, height times width.
        hidden_size: Width of the states that the decoder reads.
        num_layers: Transformer layers of the bridge.
        num_heads: Attention heads of these layers.
        dropout: Dropout of these layers, 0..1.
        feature_dropout: Dropout on the CNN's features, 0..1.
    """

    model_type = "captune-conv-grid"

    def __init__(  # noqa: PLR0913, PLR0917 - transformers' configs are flat
        self,
        backbone: dict[str, Any] | None = None,
        backbone_width: int = 1280,
        grid_size: int = 49,
        hidden_size: int = 384,
        num_layers: int = 0,
        num_heads: int = 6,
        dropout: float = 0.1,
        feature_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {}
        self.backbone_width = backbone_width
        self.grid_size = grid_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.dropout = dropout
        self.feature_dropout = feature_dropout
        super().__init__(**kwargs)

    def backbone_config(self) -> PreTrainedConfig:
        """Return the CNN's own config object."""
        settings = dict(self.backbone)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)


class ConvBridge(nn.Module):
    """Layers that turn a map (B, C, H, W) into states (B, H * W, D)."""

    def __init__(self, config: ConvGridConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.feature_dropout = nn.Dropout(config.feature_dropout)
        self.projection = nn.Linear(config.backbone_width, width)
        self.positions = nn.Parameter(torch.zeros(1, config.grid_size, width))
        self.input_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                config.num_heads,
                4 * width,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.num_layers)
        )
        self.output_norm = nn.LayerNorm(width)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """Return the states (B, H * W, D) of a map (B, C, H, W)."""
        features = self.feature_dropout(feature_map.flatten(2).transpose(1, 2))
        hidden = self.input_norm(self.projection(features) + self.positions)
        for layer in self.layers:
            hidden = layer(hidden)
        states: torch.Tensor = self.output_norm(hidden)
        return states


class ConvGridEncoder(PreTrainedModel):
    """The CNN and its bridge, with the interface of a vision encoder."""

    config_class = ConvGridConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ConvGridConfig, backbone: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.backbone = backbone or AutoModel.from_config(config.backbone_config())
        self.bridge = ConvBridge(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ConvBridge):
            nn.init.normal_(module.positions, std=0.02)

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Return the states (B, S, D) of pixels (B, C, H, W)."""
        feature_map = self.backbone(pixel_values).last_hidden_state
        return BaseModelOutput(last_hidden_state=self.bridge(feature_map))


class ConvEncoderDecoderConfig(VisionEncoderDecoderConfig):
    """A `VisionEncoderDecoderConfig` with its own name, so that transformers finds this file."""

    model_type = "captune-conv-encoder-decoder"


class ConvEncoderDecoderModel(VisionEncoderDecoderModel):
    """A `VisionEncoderDecoderModel` with a `ConvGridEncoder`."""

    config_class = ConvEncoderDecoderConfig


# The parent builds its two halves through AutoConfig and AutoModel, which must know this encoder;
# this becomes unnecessary once transformers supports a nested auto_map. Because the complete model
# is registered too, a process that has imported this file loads saved folders without their copy.
AutoConfig.register("captune-conv-grid", ConvGridConfig, exist_ok=True)
AutoModel.register(ConvGridConfig, ConvGridEncoder, exist_ok=True)
AutoConfig.register("captune-conv-encoder-decoder", ConvEncoderDecoderConfig, exist_ok=True)
AutoModelForImageTextToText.register(
    ConvEncoderDecoderConfig, ConvEncoderDecoderModel, exist_ok=True
)
