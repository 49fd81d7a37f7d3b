"""`model.image_size`: the whole image at the given size, or a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image
from pydantic import ValidationError

from captune.errors import ModelError
from captune.models import build_captioner, load_captioner
from captune.recipe import ModelConfig, NewDecoderConfig, TokenizerConfig
from support.models.tiny_models import CAPTIONS, tiny_encoder


def cropping_encoder(kind: str, folder: Path) -> Path:
    """Save an encoder whose processor crops the border, like MobileNetV2's."""
    tiny_encoder(kind).save_pretrained(folder)
    transformers.MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}
    ).save_pretrained(folder)
    return folder


def config(encoder: Path, **settings: int) -> ModelConfig:
    return ModelConfig(
        encoder=str(encoder),
        new_decoder=NewDecoderConfig(width=32, heads=2, layers=1),
        new_tokenizer=TokenizerConfig(kind="word", min_count=1),
        **settings,  # type: ignore[arg-type]
    )


def framed(width: int, height: int) -> Image.Image:
    """Return a black image with a white frame of five pixels."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[5:-5, 5:-5] = 0
    return Image.fromarray(pixels)


def sees_the_frame(captioner: object, image: Image.Image) -> bool:
    pixels = captioner.pixel_values([image])[0]  # type: ignore[attr-defined]
    corners = pixels[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    return bool((corners > 0.9).all())


def test_the_processor_crops_without_an_image_size(tmp_path: Path) -> None:
    captioner = build_captioner(config(cropping_encoder("mobilenet_v2", tmp_path)), CAPTIONS)
    assert not sees_the_frame(captioner, framed(120, 80))


@pytest.mark.parametrize("side", [64, 96])
def test_the_whole_image_is_visible_at_the_given_size(side: int, tmp_path: Path) -> None:
    encoder = cropping_encoder("mobilenet_v2", tmp_path / "encoder")
    captioner = build_captioner(config(encoder, image_size=side), CAPTIONS)
    captioner.save(tmp_path / "saved")
    for model in (captioner, load_captioner(tmp_path / "saved")):
        assert model.pixel_values([framed(120, 80)]).shape == (1, 3, side, side)
        assert sees_the_frame(model, framed(120, 80))


def test_an_encoder_with_a_position_table_refuses_another_image_size(tmp_path: Path) -> None:
    encoder = cropping_encoder("vit", tmp_path)
    assert build_captioner(config(encoder, image_size=64), CAPTIONS)
    with pytest.raises(ModelError) as caught:
        build_captioner(config(encoder, image_size=96), CAPTIONS)
    assert caught.value.what == "the encoder needs images of 64 pixels, not 96"
    assert caught.value.where == "model.image_size"


def test_an_image_size_cannot_be_set_for_a_checkpoint() -> None:
    with pytest.raises(ValidationError, match="a checkpoint has its own"):
        ModelConfig(checkpoint="someone/model", image_size=64)
