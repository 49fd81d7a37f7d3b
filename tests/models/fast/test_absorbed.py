"""Attention over vision states themselves equals attention over their keys and values."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from captune.models import fast_text
from captune.models.fast.absorbed import absorb
from captune.models.fast.linear import TextDtypes
from support.models.wild_models import noise_images, wild_captioner

HALF = TextDtypes(torch.float16, torch.float32)
HEADS, WIDTH, STATES = 3, 64, 40


def _apart(*, bias: bool) -> list[nn.Module]:
    return [nn.Linear(STATES, HEADS * WIDTH, bias=bias) for _ in range(2)]


def _fused() -> list[nn.Module]:
    layer = Conv1D(2 * HEADS * WIDTH, STATES)
    nn.init.normal_(layer.bias)
    return [layer]


@pytest.mark.parametrize(
    "modules",
    [_apart(bias=True), _apart(bias=False), _fused()],
    ids=["with biases", "without biases", "keys and values in one layer"],
)
@torch.inference_mode()
def test_attention_over_states_equals_attention_over_keys_and_values(modules):
    states, query = torch.randn(2, 9, STATES), torch.randn(2, HEADS, 5, WIDTH)
    both = torch.cat([module(states) for module in modules], dim=-1).chunk(2, dim=-1)
    key, value = (one.view(2, 9, HEADS, WIDTH).transpose(1, 2) for one in both)
    expected = (query @ key.transpose(-1, -2)).softmax(dim=-1) @ value
    weights = absorb(modules, heads=HEADS, dtypes=HALF)
    torch.testing.assert_close(weights.attend(query, states), expected, atol=1e-4, rtol=1e-4)


def test_keys_are_kept_if_results_must_equal_those_of_transformers():
    exact = TextDtypes(torch.float32, torch.float32)
    assert absorb(_apart(bias=True), heads=HEADS, dtypes=exact) is None


def test_keys_are_kept_if_heads_are_narrow():
    assert absorb(_apart(bias=True), heads=2 * HEADS, dtypes=HALF) is None


@pytest.fixture(scope="module")
def captioner():
    """A wild model of 145 vision states, whose text side has heads of 64."""
    return wild_captioner("vit-bert-tiny", image_size=96)


def _after(backend, context, words: list[list[int]], *, place: int, past: int) -> torch.Tensor:
    """Append the same words to all images; return the logits after each."""
    input_ids = torch.tensor(words)
    count = input_ids.shape[1]
    mask = torch.zeros(len(input_ids), 1, count, past + count)
    mask[..., past:].masked_fill_(~torch.eye(count, dtype=torch.bool), -1e9)
    hidden = backend.hidden_states(
        context,
        input_ids,
        position_ids=torch.full_like(input_ids, place),
        attention_mask=mask,
    )
    return backend.lm_head(hidden)


@torch.inference_mode()
def test_greedy_steps_compute_no_keys_and_give_the_logits_of_transformers(captioner):
    states = captioner.encode(noise_images(3, side=96))
    fast = fast_text(captioner, torch.float16)
    contexts = fast.start_decoding(states), captioner.start_decoding(states)
    for place, words in enumerate(([[2]] * 3, [[5], [6], [7]], [[4], [4], [8]])):
        found, exact = (
            _after(backend, context, words, place=place, past=place)
            for backend, context in zip((fast, captioner), contexts, strict=True)
        )
        # The mean error of weights in float16 is 0.002 of the logits' spread.
        assert float((found - exact).abs().mean()) < 0.01 * float(exact.std())
    assert not contexts[0].cache.image


@torch.inference_mode()
def test_the_first_step_of_several_branches_computes_the_keys(captioner):
    states = captioner.encode(noise_images(3, side=96))
    fast = fast_text(captioner, torch.float16)
    contexts = fast.start_decoding(states), captioner.start_decoding(states)
    for place, words in enumerate(([[2]] * 3, [[5, 9], [6, 3], [7, 4]])):
        found, exact = (
            _after(backend, context, words, place=place, past=place)
            for backend, context in zip((fast, captioner), contexts, strict=True)
        )
        assert float((found - exact).abs().mean()) < 0.01 * float(exact.std())
    assert len(contexts[0].cache.image) == 2
    assert contexts[0].vision_states is None


@torch.inference_mode()
def test_the_states_of_dropped_images_are_dropped_too(captioner):
    states = captioner.encode(noise_images(3, side=96))
    fast = fast_text(captioner, torch.float16)
    all_three, last_two = fast.start_decoding(states), fast.start_decoding(states[1:])
    _after(fast, all_three, [[2]] * 3, place=0, past=0)
    _after(fast, last_two, [[2]] * 2, place=0, past=0)
    kept = torch.tensor([1, 2])
    all_three.vision_states = all_three.vision_states[kept]
    all_three.cache.batch_select_indices(kept)
    found = _after(fast, all_three, [[6], [7]], place=1, past=1)
    expected = _after(fast, last_two, [[6], [7]], place=1, past=1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
