"""One branch per image: the best token at each step, or a sampled one.

Shapes: B images, V vocabulary.
"""

from __future__ import annotations

import hashlib

import torch

from captune.inference.decoding.logits import apply_penalties, warp
from captune.inference.decoding.task import Hypothesis, SearchTask, is_worth_dropping
from captune.inference.decoding.token_tree import TokenTree


def search_single(tree: TokenTree, logits: torch.Tensor, *, task: SearchTask) -> list[Hypothesis]:
    """Return one hypothesis per image, greedy or sampled.

    Args:
        tree: Token tree that holds the prompt.
        logits: Logits (B, V) of the first new token.
        task: Decoding settings, end token and limits.
    """
    device = logits.device
    found: dict[int, Hypothesis] = {}
    token_ids = torch.tensor(task.prompt_ids, device=device).expand(len(logits), -1)
    logprobs = torch.zeros(len(logits), device=device)
    rows = torch.arange(len(logits))
    draws = _draw(task)
    while True:
        step = token_ids.shape[1] - len(task.prompt_ids)
        now = draws[rows, step].to(device)
        chosen, chosen_logprobs = _choose(logits.float(), token_ids, task, draws=now)
        token_ids = torch.cat([token_ids, chosen[:, None]], dim=1)
        logprobs = logprobs + chosen_logprobs
        ends = (chosen == task.eos_token_id) | (step + 1 == task.max_new_tokens)
        for at in ends.nonzero()[:, 0].tolist():
            # A finished row keeps ending until it is dropped; its first end counts.
            new = tuple(token_ids[at, len(task.prompt_ids) :].tolist())
            found.setdefault(int(rows[at]), Hypothesis(new, float(logprobs[at])))
        alive = torch.tensor([row not in found for row in rows.tolist()])
        if not alive.any():
            return [found[row] for row in range(len(found))]
        if is_worth_dropping(alive):
            kept = alive.nonzero()[:, 0]
            rows, on_device = rows[kept], kept.to(device)
            tree.keep(on_device)
            chosen, token_ids, logprobs = (x[on_device] for x in (chosen, token_ids, logprobs))
        logits = tree.grow(torch.zeros_like(chosen)[:, None], chosen[:, None])[:, 0]


def _draw(task: SearchTask) -> torch.Tensor:
    """Draw uniform numbers, float32 (B, max_new_tokens) in [0, 1), with one generator per image.

    They depend only on the seed and the image's id, so that an image gets the same sample in any
    batch.
    """
    if not task.config.do_sample:
        return torch.zeros((len(task.image_ids), task.max_new_tokens))
    return torch.stack(
        [
            torch.rand(task.max_new_tokens, generator=_generator(task.config.seed, image_id))
            for image_id in task.image_ids
        ]
    )


def _generator(seed: int, image_id: str) -> torch.Generator:
    name = f"{seed}\0{image_id}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(name).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _choose(
    logits: torch.Tensor, token_ids: torch.Tensor, task: SearchTask, *, draws: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the next tokens, int64 (B,), and their log-probabilities under the model (B,)."""
    scores = apply_penalties(logits[:, None], token_ids[:, None], task=task)[:, 0]
    if task.config.do_sample:
        chosen = _invert_cdf(warp(scores, task.config).softmax(dim=-1), draws)
    else:
        chosen = scores.argmax(dim=-1)
    return chosen, logits.gather(1, chosen[:, None])[:, 0] - logits.logsumexp(dim=-1)


def _invert_cdf(probabilities: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Return the token (B,) at which the summed probabilities (B, V) exceed `draws` (B,)."""
    summed = probabilities.cumsum(dim=-1)
    # The draws are below 1, so below the last sum; `right` skips tokens of probability zero.
    thresholds = draws[:, None] * summed[:, -1:]
    chosen = torch.searchsorted(summed, thresholds, right=True)[:, 0]
    return chosen.clamp(max=probabilities.shape[-1] - 1)
