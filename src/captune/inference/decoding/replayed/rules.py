"""What a step needs from a task, as tensors on the device.

A replay computes with the numbers that were there when it was recorded, so whatever depends on the
token of a row is computed from tensors, and whatever comes from the host is copied beforehand.
Shapes: B rows, K branches, P prompt tokens, N maximum new tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captune.inference.decoding.logits import ban_tokens, penalize_used
from captune.inference.decoding.task import SearchTask


@dataclass(frozen=True, slots=True)
class StepRules:
    """The settings of a task on a device.

    Attributes:
        task: The task; its image ids do not matter.
        prompt_ids: int64 (P,).
        suppressed_ids: int64, tokens that are never generated.
        normalisers: float32 (N + 1,), by which the scores of captions of each length are divided.
    """

    task: SearchTask
    prompt_ids: torch.Tensor
    suppressed_ids: torch.Tensor
    normalisers: torch.Tensor

    @classmethod
    def of(cls, task: SearchTask, device: torch.device) -> StepRules:
        """Return the rules of a task."""
        penalty, most = task.config.length_penalty, task.max_new_tokens
        normalisers = [1.0, *(float(length) ** penalty for length in range(1, most + 1))]
        return cls(
            task,
            torch.tensor(task.prompt_ids, device=device),
            torch.tensor(task.suppressed_ids, dtype=torch.long, device=device),
            torch.tensor(normalisers, dtype=torch.float32, device=device),
        )

    def empty_branches(self, batch: int, branches: int) -> torch.Tensor:
        """Return int64 (B, K, P + N) with the prompt; free places hold the start token.

        The start token counts as used anyway, so free places change no penalty.
        """
        start = self.prompt_ids[:1].expand(self.task.max_new_tokens)
        return torch.cat([self.prompt_ids, start]).repeat(batch, branches, 1)

    def penalize(
        self, scores: torch.Tensor, token_ids: torch.Tensor, *, steps: torch.Tensor
    ) -> torch.Tensor:
        """Return scores (B, K, V) as `apply_penalties` does, for rows at different tokens.

        Args:
            scores: float32 (B, K, V). Not modified.
            token_ids: int64 (B, K, P + N), the branches so far.
            steps: int64 (B,), number of generated tokens of each row.
        """
        task = self.task
        config = task.config
        if config.repetition_penalty != 1.0:
            scores = penalize_used(scores, token_ids, penalty=config.repetition_penalty)
        if config.no_repeat_ngram_size > 0:
            lengths = steps + len(task.prompt_ids)
            scores = _ban_ngrams(scores, token_ids, config.no_repeat_ngram_size, lengths=lengths)
        if config.min_new_tokens > 0:
            is_short = (steps < config.min_new_tokens)[:, None]
            scores = scores.clone()
            end = scores[..., task.eos_token_id]
            scores[..., task.eos_token_id] = end.masked_fill(is_short, -torch.inf)
        if task.suppressed_ids:
            scores = scores.index_fill(-1, self.suppressed_ids, -torch.inf)
        return scores


def _ban_ngrams(
    scores: torch.Tensor, token_ids: torch.Tensor, size: int, *, lengths: torch.Tensor
) -> torch.Tensor:
    if token_ids.shape[2] < size:
        return scores
    windows = token_ids.unfold(2, size, 1)
    before = torch.arange(1 - size, 0, device=lengths.device)
    last = (lengths[:, None] + before).clamp(min=0)
    prefix = token_ids.gather(2, last[:, None].expand(-1, token_ids.shape[1], -1))
    ends = torch.arange(size, token_ids.shape[2] + 1, device=lengths.device)
    matches = (windows[..., :-1] == prefix[:, :, None]).all(dim=-1)
    matches = matches & (ends <= lengths[:, None])[:, None]
    return ban_tokens(scores, windows[..., -1], is_banned=matches)
