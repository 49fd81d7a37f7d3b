"""Tokens decoded step by step, alone or in parallel, have the states of complete captions."""

from __future__ import annotations

import pytest
import torch

from captune.models import Captioner, VisionContext, additive_mask, packed_causal_mask
from support.models.slow_twins import greedy_without_cache, plain_logits
from support.models.tiny_models import ALL, build, build_wild, noise_pixels

LENGTH = 7
# Twice: as used, and with weights so large that only float64 separates a fault from rounding.
KINDS = [*((name, "float32") for name in ALL), *((name, "float64") for name in ALL)]


def prepare(name: str, kind: str) -> tuple[Captioner, torch.Tensor]:
    """Captioner and pixels."""
    if kind == "float32":
        return build(name), noise_pixels(2)
    captioner = build_wild(name)
    captioner.model.to(torch.float64)
    return captioner, noise_pixels(2).double()


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    limit = 1e-5 if found.dtype == torch.float32 else 1e-10
    torch.testing.assert_close(found, expected, rtol=limit, atol=limit)


def random_ids(captioner: Captioner, rows: int) -> torch.Tensor:
    vocabulary = captioner.model.get_input_embeddings().num_embeddings
    ids = torch.randint(0, vocabulary, (rows, LENGTH), generator=torch.Generator().manual_seed(4))
    ids[:, 0] = captioner.bos_token_id
    return ids


def step_by_step(captioner: Captioner, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return hidden states (B, L, D), computed with one token per step."""
    context = captioner.start_decoding(states)
    steps = []
    for place in range(ids.shape[1]):
        mask = torch.zeros(ids.shape[0], 1, 1, place + 1, dtype=states.dtype)
        steps.append(
            captioner.hidden_states(
                context,
                ids[:, place : place + 1],
                position_ids=torch.full((ids.shape[0], 1), place),
                attention_mask=mask,
            )
        )
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize(("name", "kind"), KINDS)
@torch.inference_mode()
def test_one_token_per_step_equals_the_complete_caption(name: str, kind: str) -> None:
    captioner, pixels = prepare(name, kind)
    states = captioner.encode(pixels)
    ids = random_ids(captioner, 2)
    whole = captioner.hidden_states(
        VisionContext(states),
        ids,
        position_ids=torch.arange(LENGTH).expand(2, -1),
        attention_mask=packed_causal_mask(torch.zeros_like(ids), states.dtype),
    )
    assert_close(step_by_step(captioner, states, ids), whole)


@pytest.mark.parametrize(("name", "kind"), KINDS)
@torch.inference_mode()
def test_beams_decoded_together_equal_each_beam_alone(name: str, kind: str) -> None:
    """K beams share the start token, branch at the second, and never see each other."""
    captioner, pixels = prepare(name, kind)
    beams, images = 3, 2
    states = captioner.encode(pixels)
    ids = random_ids(captioner, images * beams).view(images, beams, LENGTH)
    alone = torch.stack(
        [captioner.lm_head(step_by_step(captioner, states, ids[:, beam])) for beam in range(beams)],
        dim=1,
    )

    context = captioner.start_decoding(states)
    start = captioner.hidden_states(
        context,
        ids[:, 0, :1],
        position_ids=torch.zeros(images, 1, dtype=torch.long),
        attention_mask=torch.zeros(images, 1, 1, 1, dtype=states.dtype),
    )
    assert_close(captioner.lm_head(start)[:, 0], alone[:, 0, 0])
    own = torch.eye(beams, dtype=torch.bool)
    for place in range(1, LENGTH):
        shared = torch.ones(beams, 1, dtype=torch.bool)
        visible = torch.cat([shared, own.repeat(1, place)], dim=1)
        hidden = captioner.hidden_states(
            context,
            ids[:, :, place],
            position_ids=torch.full((images, beams), place),
            attention_mask=additive_mask(visible.expand(images, -1, -1), states.dtype)[:, None],
        )
        assert_close(captioner.lm_head(hidden), alone[:, :, place])


@pytest.mark.parametrize(("name", "kind"), KINDS)
@torch.inference_mode()
def test_complete_captions_equal_plain_transformers(name: str, kind: str) -> None:
    captioner, pixels = prepare(name, kind)
    pixels = pixels[:1]
    ids = random_ids(captioner, 1)
    states = captioner.encode(pixels)
    hidden = captioner.hidden_states(
        VisionContext(states),
        ids,
        position_ids=torch.arange(LENGTH)[None],
        attention_mask=packed_causal_mask(torch.zeros_like(ids), states.dtype),
    )
    assert_close(captioner.lm_head(hidden), plain_logits(captioner, pixels, ids))


@pytest.mark.parametrize("name", ALL)
@torch.inference_mode()
def test_plain_generate_and_a_loop_without_cache_write_the_same_tokens(name: str) -> None:
    captioner = build_wild(name)
    pixels = noise_pixels(1)
    plain = captioner.model.generate(
        pixel_values=pixels, max_new_tokens=8, do_sample=False, num_beams=1
    )
    ids = greedy_without_cache(captioner, pixels, max_new_tokens=8)
    assert plain[0, 1:].tolist() == ids


def test_a_vision_context_accepts_new_states_for_each_image() -> None:
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
