"""How many images to caption at once, by the memory that is left.

Larger batches share one reading of the weights per step. On CPUs more than 16 images gain little;
an accelerator needs many more to be busy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from captune.inference.torch_batches import TorchBatches
from captune.recipe import GenerateConfig

MOST_ON_CPU = 16
MOST_ON_ACCELERATORS = 128

_SHARE = 0.5
"""Share of the free memory that a batch may take: other programs need some, and estimates are
rough."""

_FLOAT = 4
_PATCH = 16
"""Pixels per side of a vision state, if the model does not say."""

_LAYERS, _WIDTH, _VOCABULARY = 12, 768, 50_000
"""Sizes of a text side, of those that a family of its own does not name so."""

_LOGITS = 6
"""Arrays of the size of the logits that a step of beam search holds at once."""

_ACTIVATIONS = 24
"""Numbers that a vision layer holds at once, per number of its states: on accelerators, where all
images of a batch are encoded at once."""


@dataclass(frozen=True, slots=True)
class RowSize:
    """What determines the memory of one image being captioned.

    Attributes:
        pixels: Number of values of its pixels.
        states: Number of vision states.
        vision_width: Width of a vision state.
        layers: Number of text layers.
        width: Width of the text side.
        vocabulary: Number of tokens.
    """

    pixels: int
    states: int
    vision_width: int
    layers: int
    width: int
    vocabulary: int

    def count_bytes(self, config: GenerateConfig, *, is_cpu: bool) -> int:
        """Return the bytes of one image with these decoding settings."""
        beams, tokens = config.num_beams, config.max_new_tokens
        image_keys = 2 * self.layers * self.states * self.width
        text_keys = 2 * self.layers * beams * tokens * self.width
        logits = _LOGITS * beams * self.vocabulary
        states = self.states * self.vision_width * (2 if is_cpu else _ACTIVATIONS)
        # Prepared images wait as bytes, two batches ahead; one batch is normalised.
        return _FLOAT * (image_keys + text_keys + logits + states + self.pixels) + 3 * self.pixels


def choose_batch_size(
    batches: TorchBatches, config: GenerateConfig, *, free: int | None = None
) -> int:
    """Return the number of images per batch.

    Args:
        batches: The model, on its device.
        config: Complete decoding settings.
        free: Free bytes; `None`: those of the device.
    """
    is_cpu = batches.hardware.device.type == "cpu"
    most = MOST_ON_CPU if is_cpu else MOST_ON_ACCELERATORS
    free = batches.hardware.free_memory() if free is None else free
    if free is None:
        return MOST_ON_CPU
    fitting = int(_SHARE * free) // measure_row(batches).count_bytes(config, is_cpu=is_cpu)
    return max(1, min(most, fitting))


def measure_row(batches: TorchBatches) -> RowSize:
    """Return the sizes of one image, from the model's configuration."""
    pixels = batches.prepare(Image.new("RGB", (64, 64))).pixel_values
    config: Any = batches.form.captioner.model.config
    vision, text = _vision_config(config), _text_config(config)
    patch = getattr(vision, "patch_size", None)
    patch = patch if isinstance(patch, int) else _PATCH
    height, width = pixels.shape[-2:]
    return RowSize(
        pixels=pixels.numel(),
        states=(height // patch) * (width // patch) + 1,
        vision_width=getattr(vision, "hidden_size", _WIDTH),
        layers=getattr(text, "num_hidden_layers", _LAYERS),
        width=getattr(text, "hidden_size", _WIDTH),
        vocabulary=getattr(text, "vocab_size", _VOCABULARY),
    )


def _text_config(config: Any) -> Any:
    try:
        return config.get_text_config(decoder=True)
    except ValueError:
        # A family of its own, with several text sides.
        return config


def _vision_config(config: Any) -> Any:
    return getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
