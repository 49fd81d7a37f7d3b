"""One branch per image in numpy: the best token at each step, or a sampled one.

The twin of `captune.inference.decoding.greedy`, with the same random numbers.
Shapes: B images, V vocabulary.
"""

from __future__ import annotations

import hashlib

import numpy as np

from captune.inference.decoding.task import Hypothesis, SearchTask, is_worth_dropping
from captune.inference.exported.branch_rows import BranchRows, Floats, Ints, NextScores
from captune.inference.exported.score_changes import change_scores, softmax, warp_scores


def search_single_rows(
    rows: BranchRows, first: NextScores, *, task: SearchTask
) -> list[Hypothesis]:
    """Return one hypothesis per image, greedy or sampled.

    Args:
        rows: Branch rows that hold the prompt.
        first: Scores (B, 1, V) of the first new token.
        task: Decoding settings, end token and limits.
    """
    batch, scores = len(first.logits), first
    found: dict[int, Hypothesis] = {}
    token_ids = np.tile(np.array(task.prompt_ids, dtype=np.int64), (batch, 1))
    logprobs: Floats = np.zeros(batch, dtype=np.float32)
    images, draws = np.arange(batch), _draw(task)
    while True:
        step = token_ids.shape[1] - len(task.prompt_ids)
        chosen, chosen_logprobs = _choose(scores, token_ids, task, draws=draws[images, step])
        token_ids = np.concatenate([token_ids, chosen[:, None]], axis=1)
        logprobs = logprobs + chosen_logprobs
        ends = (chosen == task.eos_token_id) | (step + 1 == task.max_new_tokens)
        for at in np.flatnonzero(ends).tolist():
            # A finished row keeps ending until it is dropped; its first end counts.
            new = tuple(token_ids[at, len(task.prompt_ids) :].tolist())
            found.setdefault(int(images[at]), Hypothesis(new, float(logprobs[at])))
        alive = np.array([image not in found for image in images.tolist()])
        if not alive.any():
            return [found[image] for image in range(len(found))]
        if is_worth_dropping(alive):
            kept = np.flatnonzero(alive)
            rows.keep(kept)
            images, chosen = images[kept], chosen[kept]
            token_ids, logprobs = token_ids[kept], logprobs[kept]
        scores = rows.grow(np.zeros((len(chosen), 1), np.int64), chosen[:, None])


def _draw(task: SearchTask) -> Floats:
    """Return the uniform numbers, float32 (B, max_new_tokens), that the torch twin draws."""
    if not task.config.do_sample:
        return np.zeros((len(task.image_ids), task.max_new_tokens), dtype=np.float32)
    return np.stack(
        [_uniform(task.config.seed, name, task.max_new_tokens) for name in task.image_ids]
    )


def _uniform(seed: int, image_id: str, count: int) -> Floats:
    name = f"{seed}\0{image_id}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1
    # torch seeds its Mersenne Twister with the low 32 bits and keeps 24 bits per float.
    state = np.random.RandomState(number & 0xFFFFFFFF)
    raw = state.randint(0, 2**32, size=count, dtype=np.uint32)
    drawn: Floats = (raw & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)
    return drawn


def _choose(
    scores: NextScores, token_ids: Ints, task: SearchTask, *, draws: Floats
) -> tuple[Ints, Floats]:
    """Return the next tokens (B,) and their log-probabilities under the model (B,)."""
    config = task.config
    logits = scores.logits
    changed = logits.copy() if config.repetition_penalty != 1.0 else logits
    shift = np.zeros_like(scores.normalizer)
    change_scores(changed, token_ids[:, None], task=task, shift=shift)
    if config.do_sample:
        chosen = _invert_cdf(softmax(warp_scores(changed[:, 0], config)), draws)
    else:
        chosen = changed[:, 0].argmax(axis=-1)
    picked = logits[np.arange(len(chosen)), 0, chosen]
    return chosen, picked - scores.normalizer[:, 0]


def _invert_cdf(probabilities: Floats, draws: Floats) -> Ints:
    """Return the token (B,) at which the summed probabilities (B, V) exceed `draws` (B,)."""
    summed = probabilities.cumsum(axis=-1)
    thresholds = draws * summed[:, -1]
    chosen = [
        np.searchsorted(row, limit, side="right")
        for row, limit in zip(summed, thresholds, strict=True)
    ]
    last = probabilities.shape[-1] - 1
    limited: Ints = np.minimum(np.array(chosen, dtype=np.int64), last)
    return limited
