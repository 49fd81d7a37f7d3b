"""Packed branches give the same logits as each branch alone, without a cache."""

from __future__ import annotations

import torch

from captune.inference.decoding.token_tree import TokenTree
from captune.models import VisionContext, additive_mask


def _alone(captioner, state, token_ids):
    """Return the logits (V) after a branch, in one uncached pass over that branch only."""
    length = len(token_ids)
    mask = additive_mask(torch.ones(length, length, dtype=torch.bool).tril(), torch.float32)
    hidden = captioner.hidden_states(
        VisionContext(state[None]),
        torch.tensor([token_ids]),
        position_ids=torch.arange(length)[None],
        attention_mask=mask[None, None],
    )
    return captioner.lm_head(hidden[:, -1])[0]


@torch.inference_mode()
def test_every_branch_sees_only_its_own_history(family, backend_of):
    captioner, _, states = family
    states = states[:3]
    generator = torch.Generator().manual_seed(0)
    tree = TokenTree(backend_of(captioner), states)
    prompt = [captioner.bos_token_id, 7, 8]
    logits = tree.prefill(prompt)
    for row in range(3):
        torch.testing.assert_close(
            logits[row], _alone(captioner, states[row], prompt), atol=1e-3, rtol=1e-3
        )
    branches = [[prompt] for _ in range(3)]
    for step in range(4):
        chosen = torch.randint(6, 14, (3, 4), generator=generator)
        parents = torch.randint(4, (3, 4), generator=generator) if step else chosen * 0
        branches = [
            [branches[row][parents[row, k]] + [int(chosen[row, k])] for k in range(4)]
            for row in range(len(states))
        ]
        logits = tree.grow(parents, chosen)
        for row in range(3):
            for k in range(4):
                expected = _alone(captioner, states[row], branches[row][k])
                torch.testing.assert_close(logits[row, k], expected, atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_dropping_images_does_not_change_the_others(family, backend_of):
    captioner, _, states = family
    full, smaller = (TokenTree(backend_of(captioner), states[:4]) for _ in range(2))
    tokens, zeros = torch.tensor([[7, 8]] * 4), torch.zeros(4, 2).long()
    for tree in (full, smaller):
        tree.prefill([captioner.bos_token_id])
        tree.grow(zeros, tokens)
    kept = torch.tensor([1, 3])
    smaller.keep(kept)
    expected = full.grow(zeros + 1, tokens)[kept]
    torch.testing.assert_close(
        smaller.grow(zeros[kept] + 1, tokens[kept]), expected, atol=1e-3, rtol=1e-3
    )
