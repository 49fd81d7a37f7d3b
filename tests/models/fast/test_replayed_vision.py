"""The vision side replayed for few images, on a CPU that pretends to record."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from captune.models import inference_form
from captune.models.fast.form import _through
from captune.models.fast.replayed_vision import ReplayedVision
from support.cpu_graphs import CpuRecorder
from support.models.wild_models import noise_images, wild_captioner


@pytest.mark.parametrize("size", ["blip-tiny", "git-tiny", "vit-gpt2-tiny"])
@torch.inference_mode()
def test_states_of_replayed_passes_are_those_of_usual_ones(size):
    form = inference_form(wild_captioner(size), vision=torch.float32, text=torch.float32)
    recorder = CpuRecorder()
    replayed = replace(
        form, replayed=ReplayedVision(partial(_through, form.stages), recorder=recorder)
    )
    images = noise_images(20)
    held = []
    for start, count in ((0, 3), (3, 4), (7, 3), (10, 4), (14, 1)):
        pixels = images[start : start + count]
        states = replayed.encode(pixels)
        held.append((states, form.encode(pixels)))
        assert len(states) == count
    for states, expected in held:
        torch.testing.assert_close(states, expected, atol=2e-4, rtol=1e-4)
    # Three and four images share a recording; one image has been encoded only once.
    assert (recorder.num_recorded, recorder.num_warm_ups) == (1, 3)


@torch.inference_mode()
def test_many_images_are_encoded_without_a_recording():
    form = inference_form(wild_captioner("blip-tiny"), vision=torch.float32, text=torch.float32)
    recorder = CpuRecorder()
    replayed = replace(
        form, replayed=ReplayedVision(partial(_through, form.stages), recorder=recorder)
    )
    images = noise_images(9)
    torch.testing.assert_close(replayed.encode(images), form.encode(images), atol=2e-4, rtol=1e-4)
    assert recorder.num_warm_ups == 0


def test_nothing_is_replayed_on_a_cpu():
    captioner = wild_captioner("blip-tiny")
    form = inference_form(captioner, vision=torch.float32, text=torch.float32)
    assert form.replayed is None
