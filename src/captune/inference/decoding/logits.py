"""Changes to token scores before a token is chosen, in Hugging Face's order and arithmetic.

Shapes: B images, K beams, L tokens so far (prompt included), V vocabulary, N rows.
"""

from __future__ import annotations

import torch

from captune.inference.decoding.task import MIN_TEMPERATURE, SearchTask
from captune.recipe import GenerateConfig


def apply_penalties(
    scores: torch.Tensor, token_ids: torch.Tensor, *, task: SearchTask
) -> torch.Tensor:
    """Return scores (B, K, V) after repetition penalty, n-gram ban, minimum length, suppression.

    The prompt and its start token count as used tokens, as in Hugging Face's `generate`.

    Args:
        scores: float32 (B, K, V): log-probabilities in beam search, else logits. Not modified.
        token_ids: int64 (B, K, L), the branches so far, including the task's prompt.
        task: The penalties, the end token, and the suppressed tokens.
    """
    config = task.config
    if config.repetition_penalty != 1.0:
        scores = penalize_used(scores, token_ids, penalty=config.repetition_penalty)
    if config.no_repeat_ngram_size > 0:
        scores = _ban_ngrams(scores, token_ids, config.no_repeat_ngram_size)
    if token_ids.shape[2] - len(task.prompt_ids) < config.min_new_tokens:
        scores = scores.clone()
        scores[..., task.eos_token_id] = -torch.inf
    if task.suppressed_ids:
        scores = scores.clone()
        scores[..., list(task.suppressed_ids)] = -torch.inf
    return scores


def warp(scores: torch.Tensor, config: GenerateConfig) -> torch.Tensor:
    """Return scores (N, V) after temperature, top-k and top-p, in this order; -inf if dropped."""
    if config.temperature != 1.0:
        # Smaller ones overflow, and all choose the best token.
        scores = scores / max(config.temperature, MIN_TEMPERATURE)
    if config.top_k > 0:
        kept = min(config.top_k, scores.shape[-1])
        scores = scores.masked_fill(scores < scores.topk(kept).values[:, -1:], -torch.inf)
    if config.top_p < 1.0:
        scores = _keep_nucleus(scores, config.top_p)
    return scores


def penalize_used(scores: torch.Tensor, token_ids: torch.Tensor, *, penalty: float) -> torch.Tensor:
    """Make used tokens (B, K, L) less likely, for positive and negative scores (B, K, V) alike.

    Source: Keskar et al. 2019, "CTRL", section 4.1.
    """
    used = scores.gather(2, token_ids)
    return scores.scatter(2, token_ids, torch.where(used < 0, used * penalty, used / penalty))


def _ban_ngrams(scores: torch.Tensor, token_ids: torch.Tensor, size: int) -> torch.Tensor:
    length = token_ids.shape[2]
    if length < size:
        return scores
    windows = token_ids.unfold(2, size, 1)
    prefix = token_ids[:, :, None, length + 1 - size :]
    matches = (windows[..., :-1] == prefix).all(dim=-1)
    return ban_tokens(scores, windows[..., -1], is_banned=matches)


def ban_tokens(
    scores: torch.Tensor, token_ids: torch.Tensor, *, is_banned: torch.Tensor
) -> torch.Tensor:
    """Return scores (B, K, V), -inf for tokens (B, K, any) where `is_banned`, of the same shape."""
    # Tokens that are not banned write to a spare column, so that they cannot undo another's ban.
    vocabulary = scores.shape[2]
    banned = torch.zeros(
        (*scores.shape[:2], vocabulary + 1), dtype=torch.bool, device=scores.device
    )
    banned.scatter_(2, torch.where(is_banned, token_ids, vocabulary), True)
    return scores.masked_fill(banned[..., :vocabulary], -torch.inf)


def _keep_nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set the scores of tokens outside the nucleus to -inf.

    Source: Holtzman et al. 2020, section 3.1 (arXiv:1904.09751).
    """
    ascending, order = scores.sort(dim=-1)
    dropped = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
    dropped[:, -1].fill_(False)
    return scores.masked_fill(dropped.scatter(1, order, dropped), -torch.inf)
