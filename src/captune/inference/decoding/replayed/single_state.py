"""Greedy search and sampling with all state in tensors: `SingleSearch`, to be replayed.

Shapes: B rows, P prompt tokens, N maximum new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from captune.inference.decoding.greedy import choose_tokens, draw_uniform
from captune.inference.decoding.replayed.rules import StepRules
from captune.inference.decoding.task import SearchTask


@dataclass(frozen=True, slots=True)
class SingleState:
    """See `RowState`.

    Attributes:
        rules: Settings.
        token_ids: int64 (B, 1, P + N), filled from the left.
        logprobs: float32 (B,), log-probability of the generated tokens.
        draws: float32 (B, N), uniform numbers that choose samples.
        steps: int64 (B,).
        running: bool (B,).
    """

    rules: StepRules
    token_ids: torch.Tensor
    logprobs: torch.Tensor
    draws: torch.Tensor
    steps: torch.Tensor
    running: torch.Tensor

    @classmethod
    def start(cls, rules: StepRules, task: SearchTask, *, logits: torch.Tensor) -> SingleState:
        """Return the searches of a task's images after their first token.

        Args:
            rules: Settings.
            task: Its image ids seed the samples.
            logits: (B, V) after the prompt.
        """
        zeros = torch.zeros(len(logits), device=logits.device)
        empty = cls(
            rules,
            rules.empty_branches(len(logits), 1),
            logprobs=zeros,
            draws=draw_uniform(task).to(logits.device),
            steps=zeros.long(),
            running=torch.ones_like(zeros, dtype=torch.bool),
        )
        return empty.advance(logits[:, None])

    @property
    def last_tokens(self) -> torch.Tensor:
        """See `RowState.last_tokens`."""
        at = self.steps + len(self.rules.prompt_ids) - 1
        return self.token_ids.gather(2, at[:, None, None])[:, 0]

    @property
    def parents(self) -> torch.Tensor:
        """See `RowState.parents`."""
        return torch.zeros_like(self.steps)[:, None]

    def tensors(self) -> list[torch.Tensor]:
        """See `RowState.tensors`."""
        return [self.token_ids, self.logprobs, self.draws, self.steps, self.running]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> SingleState:
        """See `RowState.with_tensors`."""
        return SingleState(self.rules, *tensors)

    def advance(self, logits: torch.Tensor) -> SingleState:
        """See `RowState.advance`."""
        task, steps = self.rules.task, self.steps
        # Rows that have ended, perhaps at the last place, are computed too, and not kept.
        step = steps.clamp(max=task.max_new_tokens - 1)
        scores = self.rules.penalize(logits.float(), self.token_ids, steps=steps)[:, 0]
        draws = self.draws.gather(1, step[:, None])[:, 0]
        chosen, logprobs = choose_tokens(
            logits[:, 0].float(), scores, config=task.config, draws=draws
        )
        places = (step + len(task.prompt_ids))[:, None, None]
        token_ids = self.token_ids.scatter(2, places, chosen[:, None, None])
        ends = (chosen == task.eos_token_id) | (steps + 1 == task.max_new_tokens)
        running = self.running
        return SingleState(
            self.rules,
            torch.where(running[:, None, None], token_ids, self.token_ids),
            logprobs=torch.where(running, self.logprobs + logprobs, self.logprobs),
            draws=self.draws,
            steps=steps + running,
            running=running & ~ends,
        )

    def captions(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `RowState.captions`."""
        return self.token_ids[:, 0, len(self.rules.prompt_ids) :], self.steps, self.logprobs
