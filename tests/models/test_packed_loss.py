"""Packed captions do not see each other or the padding; test_contract.py tests the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from captune.models import Captioner, pack_captions
from captune.records import IGNORE_INDEX, CaptionBatch, VisionInputs
from support.models.slow_twins import loss_one_caption_per_row
from support.models.tiny_models import ONE_OF_EACH, ROWS, build, noise_pixels

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def packed_batch(captioner: Captioner, rows: Sequence[Sequence[str]] = ROWS) -> CaptionBatch:
    return captioner.batch(rows, [str(i) for i in range(len(rows))], max_caption_tokens=20)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_label_smoothing_equals_torch_on_single_captions(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels()
    packed = captioner.loss(
        replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(pixels)), 0.1
    )
    slow = loss_one_caption_per_row(captioner, ROWS, pixel_values=pixels, label_smoothing=0.1)
    torch.testing.assert_close(packed.loss_sum, slow, **CLOSE)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_changed_caption_does_not_change_the_others_in_its_row(name: str) -> None:
    captioner = build(name)
    batch = packed_batch(captioner)
    pixels = noise_pixels()
    changed_ids = batch.input_ids.clone()
    second = batch.caption_ids[0] == 1
    changed_ids[0, second] = (changed_ids[0, second] + 7) % 20

    before = row_logits(captioner, replace(batch, vision_inputs=VisionInputs.of_pixels(pixels)))
    after = row_logits(
        captioner,
        replace(batch, input_ids=changed_ids, vision_inputs=VisionInputs.of_pixels(pixels)),
    )

    assert not torch.equal(before[0, second], after[0, second])
    others = (batch.caption_ids[0] == 0) | (batch.caption_ids[0] == 2)
    assert torch.equal(before[0, others], after[0, others])
    assert torch.equal(before[1:], after[1:])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_padding_is_never_attended_to(name: str) -> None:
    captioner = build(name)
    batch = packed_batch(captioner)
    pixels = noise_pixels()
    padding = batch.caption_ids < 0
    assert padding.any()
    noisy = batch.input_ids.masked_fill(padding, 9)

    before = captioner.loss(replace(batch, vision_inputs=VisionInputs.of_pixels(pixels)))
    after = captioner.loss(
        replace(batch, input_ids=noisy, vision_inputs=VisionInputs.of_pixels(pixels))
    )
    assert torch.equal(before.loss_sum, after.loss_sum)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_more_padding_changes_nothing(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels()
    rows = [list(ROWS[2])]
    alone = replace(packed_batch(captioner, rows), vision_inputs=VisionInputs.of_pixels(pixels[2:]))
    beside = replace(packed_batch(captioner), vision_inputs=VisionInputs.of_pixels(pixels))
    of_others = captioner.loss(
        replace(packed_batch(captioner, ROWS[:2]), vision_inputs=VisionInputs.of_pixels(pixels[:2]))
    ).loss_sum
    torch.testing.assert_close(
        captioner.loss(alone).loss_sum,
        captioner.loss(beside).loss_sum - of_others,
        rtol=0,
        atol=1e-4,
    )


def test_the_first_token_of_a_caption_is_never_a_label() -> None:
    batch = pack_captions([[(5, 8, 3), (5, 9, 9, 3)], [(5, 3)]], ["a", "b"], pad_token_id=0)
    assert batch.input_ids.tolist() == [[5, 8, 3, 5, 9, 9, 3], [5, 3, 0, 0, 0, 0, 0]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3], [0, 1, 0, 0, 0, 0, 0]]
    assert batch.caption_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, -1, -1, -1, -1, -1]]
    no = IGNORE_INDEX
    assert batch.labels.tolist() == [[no, 8, 3, no, 9, 9, 3], [no, 3, no, no, no, no, no]]
    assert batch.num_label_tokens == 6
    assert batch.num_captions == 3


def test_a_longer_prefix_has_no_loss() -> None:
    batch = pack_captions([[(5, 8, 7, 3)]], ["a"], pad_token_id=0, prefix_length=3)
    assert batch.labels.tolist() == [[IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, 3]]


def test_a_batch_without_labels_has_zero_loss() -> None:
    captioner = build("blip-tiny")
    batch = pack_captions([[], []], ["a", "b"], pad_token_id=0)
    filled = replace(
        batch,
        input_ids=torch.zeros(2, 3, dtype=torch.long),
        position_ids=torch.zeros(2, 3, dtype=torch.long),
        caption_ids=torch.full((2, 3), -1),
        labels=torch.full((2, 3), IGNORE_INDEX),
        vision_inputs=VisionInputs.of_pixels(noise_pixels(2)),
    )
    loss = captioner.loss(filled)
    assert loss.num_tokens == 0
    assert float(loss.loss_sum.detach()) == 0.0


def test_a_batch_without_images_is_refused() -> None:
    captioner = build("blip-tiny")
    with pytest.raises(ValueError, match="needs vision_inputs or vision_features"):
        captioner.loss(packed_batch(captioner))


def row_logits(captioner: Captioner, batch: CaptionBatch) -> torch.Tensor:
    """Return the logits of every position, computed with the same functions as `loss`."""
    from captune.models import VisionContext, packed_causal_mask

    with torch.inference_mode():
        hidden = captioner.hidden_states(
            VisionContext(captioner.vision_states(batch)),
            batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=packed_causal_mask(batch.caption_ids, torch.float32),
        )
        return captioner.lm_head(hidden)
