"""captune's loss equals transformers' own loss where that one is correct."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captune.models import Captioner
from captune.records import IGNORE_INDEX, CaptionBatch, VisionInputs
from support.models.tiny_models import ALL, CAPTIONS, build, noise_pixels

ROWS = [[CAPTIONS[0]], [CAPTIONS[4]], [CAPTIONS[3]]]
OTHERS = [n for n in ALL if n not in ("blip-tiny", "git-tiny")]


def one_a_row(captioner: Captioner) -> CaptionBatch:
    batch = captioner.batch(ROWS, ["a", "b", "c"], max_caption_tokens=20)
    return replace(batch, vision_inputs=VisionInputs.of_pixels(noise_pixels()))


def mean_loss(captioner: Captioner, batch: CaptionBatch) -> torch.Tensor:
    loss = captioner.loss(batch)
    return loss.loss_sum / loss.num_tokens


@pytest.mark.parametrize("name", ["blip-tiny", "git-tiny"])
def test_minus_100_on_padding_gives_the_same_loss(name: str) -> None:
    captioner = build(name)
    batch = one_a_row(captioner)
    mask = (batch.caption_ids >= 0).long()
    theirs = captioner.model(
        pixel_values=batch.vision_inputs.pixel_values,
        input_ids=batch.input_ids,
        attention_mask=mask,
        labels=batch.input_ids.masked_fill(mask == 0, IGNORE_INDEX),
    ).loss
    torch.testing.assert_close(mean_loss(captioner, batch), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_encoder_decoder_gives_the_same_loss(name: str) -> None:
    captioner = build(name)
    batch = one_a_row(captioner)
    # Their labels begin after the start token: the model itself shifts them right.
    labels = batch.labels[:, 1:]
    theirs = captioner.model(pixel_values=batch.vision_inputs.pixel_values, labels=labels).loss
    torch.testing.assert_close(mean_loss(captioner, batch), theirs, rtol=1e-5, atol=1e-5)
