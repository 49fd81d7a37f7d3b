"""Captions in half precision, and the arranged model that is kept between calls."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from captune.hardware import choose_hardware
from captune.inference import Execution, caption_images
from captune.recipe import GenerateConfig
from support.models.wild_models import SPREADS, wild_captioner

CONFIG = GenerateConfig(num_beams=2, max_new_tokens=8)


def _captions(captioner, execution):
    images = [(str(n), Image.new("RGB", (64, 64), (40 * n, 200 - 30 * n, 90))) for n in range(5)]
    found = caption_images(captioner, images, config=CONFIG, batch_size=3, execution=execution)
    return [(p.image_id, p.caption) for p in found]


@pytest.mark.parametrize("size", SPREADS)
@pytest.mark.parametrize("is_exact_enough", [False, True])
def test_every_family_captions_in_bf16(size, is_exact_enough):
    hardware = choose_hardware("cpu", "bf16")
    execution = Execution(hardware, "inline", is_exact_enough)
    found = _captions(wild_captioner(size), execution)
    assert [name for name, _ in found] == list("01234")


def test_a_model_arranged_for_captioning_is_kept_until_a_weight_changes():
    captioner = wild_captioner("blip-tiny")
    execution = Execution(choose_hardware("cpu", "bf16"), "inline")
    first = _captions(captioner, execution)
    form = execution.kept[0]
    assert _captions(captioner, execution) == first
    assert execution.kept[0] is form
    head = captioner.model.text_decoder.cls.predictions.decoder
    with torch.no_grad():
        head.bias[captioner.eos_token_id] += 100
    assert all(not caption for _, caption in _captions(captioner, execution))
    assert execution.kept[0] is not form
