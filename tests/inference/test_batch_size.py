"""The batch size follows the free memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from captune.hardware import choose_hardware
from captune.inference.batch_size import (
    MOST_ON_ACCELERATORS,
    MOST_ON_CPU,
    RowSize,
    choose_batch_size,
    measure_row,
)
from captune.inference.caption import open_torch_batches
from captune.inference.prepare import Execution
from captune.recipe import GenerateConfig
from support.models.wild_models import wild_captioner

GREEDY = GenerateConfig(num_beams=1, max_new_tokens=20)
BEAMS = GenerateConfig(num_beams=5, max_new_tokens=20)
# BLIP base at 384 pixels.
BASE = RowSize(
    pixels=3 * 384 * 384, states=577, vision_width=768, layers=12, width=768, vocabulary=30_524
)


@pytest.fixture(
    scope="module", params=["blip-tiny", "git-tiny", "vit-gpt2-tiny", "mobilenet-gpt2-tiny"]
)
def batches(request):
    captioner = wild_captioner(request.param)
    return open_torch_batches(captioner, Execution(choose_hardware("cpu", "fp32"), "inline"))


def test_an_image_of_blip_base_is_counted_by_hand():
    keys = 2 * 12 * 577 * 768
    text = 2 * 12 * 5 * 20 * 768
    logits, states, pixels = 6 * 5 * 30_524, 2 * 577 * 768, 3 * 384 * 384
    expected = 4 * (keys + text + logits + states + pixels) + 3 * pixels
    assert BASE.count_bytes(BEAMS, is_cpu=True) == expected
    assert BASE.count_bytes(GREEDY, is_cpu=True) < expected


def test_the_sizes_of_a_model_are_those_of_its_states_and_layers(batches):
    row = measure_row(batches)
    captioner = batches.form.captioner
    inputs = batches.prepare(Image.new("RGB", (64, 64)))
    with torch.inference_mode():
        states = captioner.encode(inputs)
    assert row.pixels == inputs.pixel_values.numel()
    logits = batches.form.text.lm_head(torch.zeros(1, row.width))
    assert row.vocabulary == logits.shape[-1]
    # A convolutional encoder has fewer states than its configuration says.
    assert row.states >= states.shape[1]


def test_the_batch_is_as_large_as_fits_in_half_of_the_free_memory(batches):
    row = measure_row(batches).count_bytes(BEAMS, is_cpu=True)
    assert choose_batch_size(batches, BEAMS, free=2 * 5 * row) == 5
    assert choose_batch_size(batches, BEAMS, free=2 * 5 * row - 1) == 4
    assert choose_batch_size(batches, BEAMS, free=0) == 1
    assert choose_batch_size(batches, BEAMS, free=2**50) == MOST_ON_CPU


def test_accelerators_get_larger_batches(batches):
    elsewhere = replace(batches, hardware=replace(batches.hardware, device=torch.device("cuda")))
    assert choose_batch_size(elsewhere, GREEDY, free=2**50) == MOST_ON_ACCELERATORS
    row = measure_row(batches).count_bytes(GREEDY, is_cpu=False)
    assert choose_batch_size(elsewhere, GREEDY, free=2 * 40 * row) == 40


def test_the_free_memory_of_this_machine_is_known():
    free = choose_hardware("cpu", "fp32").free_memory()
    assert free is not None
    assert 0 < free <= choose_hardware("cpu", "fp32").memory_bytes
