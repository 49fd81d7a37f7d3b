"""A stream whose rows take new images: order, equal captions, memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captune.hardware import choose_hardware
from captune.inference.caption import open_torch_batches
from captune.inference.flow import CaptionFlow
from captune.inference.prepare import Execution
from captune.models.blip import BlipCaptioner
from captune.recipe import GenerateConfig
from support.cpu_graphs import CpuRecorder

SETTINGS = [
    GenerateConfig(num_beams=1, max_new_tokens=18),
    GenerateConfig(num_beams=3, max_new_tokens=18),
]
NUM_IMAGES = 28


def _open(captioner):
    return open_torch_batches(captioner, Execution(choose_hardware("cpu", "fp32"), "inline"))


@pytest.fixture(scope="module")
def prepared(blip):
    random = np.random.default_rng(4)
    pixels = random.integers(0, 256, (NUM_IMAGES, 40, 50, 3), dtype=np.uint8)
    batches = _open(blip[0])
    return [(str(n), batches.prepare(Image.fromarray(one))) for n, one in enumerate(pixels)]


@pytest.fixture(scope="module", params=SETTINGS, ids=["greedy", "beams"])
def expected(request, blip, prepared):
    """Return settings, and the caption that each image gets alone."""
    batches = _open(blip[0])
    alone = [batches.caption([one], [request.param])[0][0] for one in prepared]
    assert len({prediction.num_tokens for prediction in alone}) > 3
    return request.param, [(one.image_id, one.caption) for one in alone]


def _stream(flow, prepared):
    found = [one for image_id, inputs in prepared for one in flow.take(image_id, inputs)]
    return [(one.image_id, one.caption) for one in (*found, *flow.finish())]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_captions_are_those_of_single_images_in_order(blip, prepared, expected, size):
    config, alone = expected
    assert _stream(CaptionFlow(_open(blip[0]), config, size), prepared) == alone


@pytest.mark.parametrize(
    "size", [8, *(pytest.param(size, marks=pytest.mark.slow) for size in (3, 100))]
)
def test_captions_of_replayed_steps_are_those_of_single_images_in_order(
    blip, prepared, expected, size
):
    config, alone = expected
    recorder = CpuRecorder()
    batches = replace(_open(blip[0]), recorder=recorder)
    assert _stream(CaptionFlow(batches, config, size), prepared) == alone
    # More rows for the last images, or more places for longer captions, are recorded again.
    assert 1 <= recorder.num_recorded <= 3
    assert recorder.num_replays > 3 * recorder.num_warm_ups


@pytest.mark.slow
def test_few_images_are_held_while_others_are_captioned(blip, prepared, expected):
    config, alone = expected
    flow, num_yielded = CaptionFlow(_open(blip[0]), config, 4), 0
    for num_taken, (image_id, inputs) in enumerate(prepared, 1):
        num_yielded += len(list(flow.take(image_id, inputs)))
        assert num_taken - num_yielded <= 3 * 4
    assert num_yielded > NUM_IMAGES // 2
    assert num_yielded + len(list(flow.finish())) == len(alone)


class LateTrouble(BlipCaptioner):
    """A model whose memory is full once, when images join others."""

    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().encode(pixel_values)


@pytest.mark.slow
@pytest.mark.parametrize("recorder", [None, CpuRecorder()], ids=["usual", "replayed"])
def test_images_in_flight_start_again_in_a_smaller_batch_if_memory_is_full(
    blip, prepared, expected, recorder
):
    config, alone = expected
    whole = blip[0]
    small = LateTrouble(whole.model, whole.tokenizer, whole.image_processor)
    small.calls = 0
    flow = CaptionFlow(replace(_open(small), recorder=recorder), config, 8)
    with pytest.warns(UserWarning, match="images do not fit in the memory of cpu at once"):
        found = _stream(flow, prepared)
    assert found == alone
    assert flow.size < 8


@pytest.mark.slow
@pytest.mark.parametrize("recorder", [None, CpuRecorder()], ids=["usual", "replayed"])
def test_a_server_can_add_images_to_captions_in_progress(blip, prepared, expected, recorder):
    config, alone = expected
    running = replace(_open(blip[0]), recorder=recorder).run(config)
    found, joined, started = {}, 0, 0
    while len(found) < NUM_IMAGES:
        room = running.num_free if running.num_running else 4
        now = prepared[started : started + room]
        started += len(now)
        joined += len(now) if running.num_running else 0
        is_last = started == NUM_IMAGES
        found |= dict(running.add(now) if now else running.advance(is_last=is_last))
    assert joined > 1
    assert [(found[n].image_id, found[n].caption) for n in range(NUM_IMAGES)] == alone
