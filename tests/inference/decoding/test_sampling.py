"""Sampling: from the right distribution, the same for the same image and seed."""

from __future__ import annotations

import pytest
import torch

from captune.inference import generate
from captune.inference.decoding.decode import plan_search, search
from captune.inference.decoding.greedy import _invert_cdf
from captune.recipe import GenerateConfig


def _sample(captioner, states, image_ids, **settings):
    config = GenerateConfig(num_beams=1, do_sample=True, **settings)
    return [p.caption for p in generate(captioner, states, image_ids=image_ids, config=config)]


def test_seed_and_image_id_decide_the_sample(blip):
    captioner, states = blip
    same = states[:1].expand(6, -1, -1)
    ids = list("abcdef")
    first = _sample(captioner, same, ids, seed=1, temperature=2.0)
    assert _sample(captioner, same, ids, seed=1, temperature=2.0) == first
    assert _sample(captioner, same, ids, seed=2, temperature=2.0) != first
    assert len(set(first)) > 1
    assert _sample(captioner, same[:1], ["c"], seed=1, temperature=2.0) == [first[2]]


def test_the_global_generator_is_left_alone(blip):
    captioner, states = blip
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    _sample(captioner, states, list("abcdefghijkl"))
    assert torch.rand(1) == expected


def test_top_k_1_and_temperatures_close_to_0_are_greedy(blip):
    captioner, states = blip
    ids = list("abcdefghijkl")
    greedy = generate(captioner, states, image_ids=ids, config=GenerateConfig(num_beams=1))
    expected = [p.caption for p in greedy]
    assert _sample(captioner, states, ids, top_k=1) == expected
    for temperature in (1e-6, 1e-40, 5e-324):
        assert _sample(captioner, states, ids, temperature=temperature) == expected


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_first_tokens_follow_the_models_probabilities(blip, temperature):
    captioner, states = blip
    count = 4000
    config = GenerateConfig(
        num_beams=1, do_sample=True, temperature=temperature, max_new_tokens=1, seed=3
    )
    task = plan_search(captioner, [f"image-{n}" for n in range(count)], config=config)
    with torch.inference_mode():
        found = search(captioner, states[:1].expand(count, -1, -1), task=task)
        logits = _first_logits(captioner, states[:1])
    expected = (logits / temperature).softmax(-1)
    counts = torch.bincount(
        torch.tensor([h.token_ids[0] for h in found]), minlength=len(expected)
    ).float()
    # Four standard errors of a share, plus a token for the rare ones.
    allowed = 4 * (expected * (1 - expected) / count).sqrt() + 1 / count
    assert ((counts / count - expected).abs() <= allowed).all()


def _first_logits(captioner, state):
    from captune.inference.decoding.token_tree import TokenTree

    return TokenTree(captioner, state).prefill([captioner.bos_token_id])[0]


def test_a_draw_picks_the_token_at_which_the_summed_probability_exceeds_it():
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]])
    draws = {0.0: 1, 0.2499: 1, 0.25: 3, 0.5: 3, 1 - 2**-24: 3}
    for draw, token in draws.items():
        assert _invert_cdf(probabilities, torch.tensor([draw])).tolist() == [token]


def test_a_token_of_probability_zero_is_never_drawn():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(64, 1000, generator=generator)
    probabilities[probabilities < 0.9] = 0.0
    probabilities /= probabilities.sum(-1, keepdim=True)
    for draw in (0.0, 2**-24, 0.3, 1 - 2**-24):
        chosen = _invert_cdf(probabilities, torch.full((64,), draw))
        assert (probabilities.gather(1, chosen[:, None]) > 0).all()
