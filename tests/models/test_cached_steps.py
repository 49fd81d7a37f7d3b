"""Tokens fed step by step, alone or side by side, give the states of whole captions."""

from __future__ import annotations

import pytest
import torch
from slow_twins import greedy_without_cache, plain_logits
from tiny_models import ALL, build, noise_pixels

from captune.models import Captioner, VisionContext, additive_mask, packed_causal_mask

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LENGTH = 7


def random_ids(captioner: Captioner, rows: int) -> torch.Tensor:
    vocabulary = captioner.model.get_input_embeddings().num_embeddings
    ids = torch.randint(0, vocabulary, (rows, LENGTH), generator=torch.Generator().manual_seed(4))
    ids[:, 0] = captioner.bos_token_id
    return ids


def step_by_step(captioner: Captioner, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Hidden states (B, L, D), one token a step."""
    context = captioner.start_decoding(states)
    steps = []
    for place in range(ids.shape[1]):
        mask = torch.zeros(ids.shape[0], 1, 1, place + 1)
        steps.append(
            captioner.hidden_states(
                context,
                ids[:, place : place + 1],
                position_ids=torch.full((ids.shape[0], 1), place),
                attention_mask=mask,
            )
        )
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_one_token_a_step_equals_the_whole_caption(name: str) -> None:
    captioner = build(name)
    states = captioner.encode(noise_pixels())
    ids = random_ids(captioner, 3)
    whole = captioner.hidden_states(
        VisionContext(states),
        ids,
        position_ids=torch.arange(LENGTH).expand(3, -1),
        attention_mask=packed_causal_mask(torch.zeros_like(ids), torch.float32),
    )
    torch.testing.assert_close(step_by_step(captioner, states, ids), whole, **CLOSE)


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_beams_side_by_side_equal_each_beam_alone(name: str) -> None:
    """A tree: K beams share the start token, branch at the second, and never see each other."""
    captioner = build(name)
    beams, images = 3, 2
    states = captioner.encode(noise_pixels(images))
    ids = random_ids(captioner, images * beams).view(images, beams, LENGTH)
    alone = torch.stack(
        [
            captioner.lm_head(step_by_step(captioner, states, ids[:, beam]))
            for beam in range(beams)
        ],
        dim=1,
    )

    context = captioner.start_decoding(states)
    start = captioner.hidden_states(
        context,
        ids[:, 0, :1],
        position_ids=torch.zeros(images, 1, dtype=torch.long),
        attention_mask=torch.zeros(images, 1, 1, 1),
    )
    torch.testing.assert_close(captioner.lm_head(start)[:, 0], alone[:, 0, 0], **CLOSE)
    own = torch.eye(beams, dtype=torch.bool)
    for place in range(1, LENGTH):
        shared = torch.ones(beams, 1, dtype=torch.bool)
        visible = torch.cat([shared, own.repeat(1, place)], dim=1)
        hidden = captioner.hidden_states(
            context,
            ids[:, :, place],
            position_ids=torch.full((images, beams), place),
            attention_mask=additive_mask(visible.expand(images, -1, -1), torch.float32)[:, None],
        )
        torch.testing.assert_close(captioner.lm_head(hidden), alone[:, :, place], **CLOSE)


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_whole_captions_equal_plain_transformers(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels(1)
    ids = random_ids(captioner, 1)
    hidden = captioner.hidden_states(
        VisionContext(captioner.encode(pixels)),
        ids,
        position_ids=torch.arange(LENGTH)[None],
        attention_mask=packed_causal_mask(torch.zeros_like(ids), torch.float32),
    )
    torch.testing.assert_close(
        captioner.lm_head(hidden), plain_logits(captioner, pixels, ids), **CLOSE
    )


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_plain_generate_and_a_loop_without_cache_write_the_same_tokens(name: str) -> None:
    captioner = build(name)
    pixels = noise_pixels(1)
    plain = captioner.model.generate(
        pixel_values=pixels, max_new_tokens=8, do_sample=False, num_beams=1
    )
    ids = greedy_without_cache(captioner, pixels, max_new_tokens=8)
    assert plain[0, 1:].tolist() == ids


def test_a_vision_context_takes_new_states_for_each_image() -> None:
    captioner = build("git-tiny")
    pixels = noise_pixels(2)
    ids = random_ids(captioner, 2)[:, :1]
    with torch.inference_mode():
        one, two = (
            captioner.hidden_states(
                captioner.start_decoding(captioner.encode(image[None])),
                ids[:1],
                position_ids=torch.zeros(1, 1, dtype=torch.long),
                attention_mask=torch.zeros(1, 1, 1, 1),
            )
            for image in pixels
        )
    assert not torch.allclose(one, two, atol=1e-3)
