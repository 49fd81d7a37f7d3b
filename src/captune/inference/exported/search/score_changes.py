"""Changes to token scores before a token is chosen, in place; the numpy twin of `decoding.logits`.

Only the few scores that change are written: a pass over a vocabulary of 30,000 tokens per beam
would cost as much as the model's step.
Shapes: B images, K beams, L tokens so far (prompt included), V vocabulary, N rows.
"""

from __future__ import annotations

import numpy as np

from captune.inference.decoding.task import MIN_TEMPERATURE, SearchTask
from captune.inference.exported.search.branch_rows import Floats, Ints
from captune.recipe import GenerateConfig


def change_scores(scores: Floats, token_ids: Ints, *, task: SearchTask, shift: Floats) -> None:
    """Apply repetition penalty, n-gram ban, minimum length and suppression to scores, in place.

    Args:
        scores: (B, K, V).
        token_ids: (B, K, L), the branches so far, including the task's prompt.
        task: The penalties, the end token, and the suppressed tokens.
        shift: (B, K), subtracted from a score before its sign counts: the normalizer where the
            penalty is on log-probabilities (beam search), zeros where it is on logits.
    """
    config = task.config
    if config.repetition_penalty != 1.0:
        used = np.take_along_axis(scores, token_ids, axis=2) - shift[:, :, None]
        penalty = np.float32(config.repetition_penalty)
        changed = np.where(used < 0, used * penalty, used / penalty) + shift[:, :, None]
        np.put_along_axis(scores, token_ids, changed, axis=2)
    if config.no_repeat_ngram_size > 0:
        _ban_ngrams(scores, token_ids, config.no_repeat_ngram_size)
    if token_ids.shape[2] - len(task.prompt_ids) < config.min_new_tokens:
        scores[..., task.eos_token_id] = -np.inf
    if task.suppressed_ids:
        scores[..., list(task.suppressed_ids)] = -np.inf


def warp_scores(scores: Floats, config: GenerateConfig) -> Floats:
    """Return scores (N, V) after temperature, top-k and top-p, in this order; -inf if dropped."""
    if config.temperature != 1.0:
        # Smaller ones overflow, and all choose the best token.
        scores = scores / np.float32(max(config.temperature, MIN_TEMPERATURE))
    if config.top_k > 0:
        kept = min(config.top_k, scores.shape[-1])
        least = np.partition(scores, -kept, axis=-1)[:, -kept][:, None]
        scores = np.where(scores < least, np.float32(-np.inf), scores)
    if config.top_p < 1.0:
        scores = _keep_nucleus(scores, config.top_p)
    return scores


def softmax(scores: Floats) -> Floats:
    """Return the probabilities of scores (N, V)."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _ban_ngrams(scores: Floats, token_ids: Ints, size: int) -> None:
    length = token_ids.shape[2]
    if length < size:
        return
    windows = np.lib.stride_tricks.sliding_window_view(token_ids, size, axis=2)
    prefix = token_ids[:, :, None, length + 1 - size :]
    image, beam, place = np.nonzero((windows[..., :-1] == prefix).all(axis=-1))
    scores[image, beam, windows[image, beam, place, -1]] = -np.inf


def _keep_nucleus(scores: Floats, top_p: float) -> Floats:
    """Set the scores of tokens outside the nucleus to -inf.

    Source: Holtzman et al. 2020, section 3.1 (arXiv:1904.09751).
    """
    order = np.argsort(scores, axis=-1, kind="stable")
    summed = np.cumsum(softmax(np.take_along_axis(scores, order, axis=-1)), axis=-1)
    dropped = summed <= 1 - top_p
    dropped[:, -1] = False
    outside = np.empty_like(dropped)
    np.put_along_axis(outside, order, dropped, axis=-1)
    return np.where(outside, np.float32(-np.inf), scores)
