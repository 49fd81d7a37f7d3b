"""Beam search with all state in tensors: the steps of `BeamSearch`, to be replayed.

Shapes: B rows, K beams, C = 2 K candidates, P prompt tokens, N maximum new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from captune.inference.decoding.beams import NEVER, Branches, can_improve, keep_ended
from captune.inference.decoding.replayed.rules import StepRules


@dataclass(frozen=True, slots=True)
class BeamState:
    """See `RowState`.

    Attributes:
        rules: Settings.
        open: K branches that continue.
        ended: The K best branches that ended; score -inf if there are fewer.
        parents: int64 (B, K), the previous open branch that each open one continues.
        has_ended: bool (B, K), which of `ended` are real.
        steps: int64 (B,).
        running: bool (B,).
    """

    rules: StepRules
    open: Branches
    ended: Branches
    parents: torch.Tensor
    has_ended: torch.Tensor
    steps: torch.Tensor
    running: torch.Tensor

    @classmethod
    def start(cls, rules: StepRules, logits: torch.Tensor) -> BeamState:
        """Return the searches of B images after their first token, from logits (B, V)."""
        batch, beams = len(logits), rules.task.config.num_beams
        zeros = torch.zeros((batch, beams), device=logits.device)
        scores = torch.full_like(zeros, NEVER)
        scores[:, 0] = 0.0
        token_ids, none = rules.empty_branches(batch, beams), zeros.long()
        empty = cls(
            rules,
            open=Branches(token_ids, scores, zeros, none),
            ended=Branches(token_ids, torch.full_like(zeros, -torch.inf), zeros, none),
            parents=none,
            has_ended=zeros.bool(),
            steps=none[:, 0],
            running=torch.ones(batch, dtype=torch.bool, device=logits.device),
        )
        first = empty.advance(logits[:, None].expand(-1, beams, -1))
        # There is only one branch after the prompt.
        return replace(first, parents=none)

    @property
    def last_tokens(self) -> torch.Tensor:
        """See `RowState.last_tokens`."""
        at = self.steps + len(self.rules.prompt_ids) - 1
        beams = self.parents.shape[1]
        return self.open.token_ids.gather(2, at[:, None, None].expand(-1, beams, 1))[..., 0]

    def tensors(self) -> list[torch.Tensor]:
        """See `RowState.tensors`."""
        branches = [getattr(b, f.name) for b in (self.open, self.ended) for f in fields(b)]
        return [*branches, self.parents, self.has_ended, self.steps, self.running]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> BeamState:
        """See `RowState.with_tensors`."""
        count = len(fields(Branches))
        opened, ended, rest = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
        return BeamState(self.rules, Branches(*opened), Branches(*ended), *rest)

    def advance(self, logits: torch.Tensor) -> BeamState:
        """See `RowState.advance`."""
        task, beams = self.rules.task, self.rules.task.config.num_beams
        candidates, parents, tokens = self._candidates(logits)
        ends = (tokens == task.eos_token_id) | (self.steps + 1 == task.max_new_tokens)[:, None]
        continuing = replace(candidates, scores=candidates.scores + ends * NEVER)
        order = continuing.scores.topk(beams).indices
        normaliser = self.rules.normalisers[self.steps.clamp(max=task.max_new_tokens - 1) + 1]
        ended, has_ended = keep_ended(
            (self.ended, self.has_ended), candidates, ends=ends, normaliser=normaliser[:, None]
        )
        opened = continuing.take(order)
        improvable = can_improve(
            opened.scores[:, :1] / normaliser[:, None],
            ended.scores,
            has_ended=has_ended,
            is_early=task.config.early_stopping,
        )
        following = BeamState(
            self.rules,
            open=opened,
            ended=ended,
            parents=parents.gather(1, order),
            has_ended=has_ended,
            steps=self.steps + 1,
            running=~ends.all(dim=1) & improvable,
        )
        return self._hold(following)

    def captions(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `RowState.captions`."""
        best = self.ended
        tokens = best.token_ids[:, 0, len(self.rules.prompt_ids) :]
        return tokens, best.lengths[:, 0], best.logprobs[:, 0]

    def _candidates(self, logits: torch.Tensor) -> tuple[Branches, torch.Tensor, torch.Tensor]:
        """Return the best C continuations, the branch that each continues, and its new token."""
        task, kept = self.rules.task, self.open
        logprobs = logits.float().log_softmax(dim=-1)
        scores = self.rules.penalize(logprobs, kept.token_ids, steps=self.steps)
        vocabulary = scores.shape[2]
        totals = (scores + kept.scores[:, :, None]).flatten(1)
        best, index = totals.topk(2 * task.config.num_beams)
        parents, tokens = index // vocabulary, index % vocabulary
        continued = kept.take(parents)
        # Rows that have ended, perhaps at the last place, are computed too, and not kept.
        step = self.steps.clamp(max=task.max_new_tokens - 1)
        places = (step + len(task.prompt_ids))[:, None, None].expand(-1, tokens.shape[1], 1)
        candidates = Branches(
            continued.token_ids.scatter(2, places, tokens[:, :, None]),
            best,
            continued.logprobs + logprobs.flatten(1).gather(1, index),
            continued.lengths + 1,
        )
        return candidates, parents, tokens

    def _hold(self, following: BeamState) -> BeamState:
        """Return the following state, but this one's for rows that had ended before."""
        return self.with_tensors(
            [
                torch.where(self.running.view(-1, *[1] * (now.dim() - 1)), now, before)
                for before, now in zip(self.tensors(), following.tensors(), strict=True)
            ]
        )
