"""Beam search with exactly the steps of Hugging Face's, independently per image.

Each step ranks 2 K candidates, so that K stay open when others end; only the first K may end. Ended
captions are ranked by log-probability / length ** length_penalty, where the length counts generated
tokens, including the end token. The search of an image stops when `generate` would stop for that
image alone; the rest of the batch has no influence.
Shapes: B images, K beams, C = 2 K candidates, V vocabulary, P prompt tokens, N maximum new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch

from captune.inference.decoding.logits import apply_penalties
from captune.inference.decoding.task import Hypothesis, SearchTask

NEVER = -1.0e9
"""Score of an open branch that must not be chosen."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Some branches of each image, best first.

    Attributes:
        token_ids: int64 (B, K, P + N), filled from the left.
        scores: float32 (B, K), by which branches are ranked.
        logprobs: float32 (B, K), log-probabilities under the model, without penalties.
        lengths: int64 (B, K), numbers of generated tokens.
    """

    token_ids: torch.Tensor
    scores: torch.Tensor
    logprobs: torch.Tensor
    lengths: torch.Tensor

    def take(self, index: torch.Tensor) -> Branches:
        """Return branches `index`, int64 (B, K')."""
        wide = index[:, :, None].expand(-1, -1, self.token_ids.shape[2])
        numbers = (getattr(self, f.name).gather(1, index) for f in fields(self)[1:])
        return Branches(self.token_ids.gather(1, wide), *numbers)

    def rows(self, index: torch.Tensor) -> Branches:
        """Return images `index`, int64 (B',)."""
        return Branches(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class _Beams:
    """State of the search.

    Attributes:
        step: Number of tokens generated so far.
        open: K branches that continue.
        parents: int64 (B, K), the previous open branch that each continues.
        ended: The K best branches that ended; score -inf if there are fewer.
        has_ended: bool (B, K), which of `ended` are real.
        alive: bool (B,), images whose search continues.
    """

    step: int
    open: Branches
    parents: torch.Tensor
    ended: Branches
    has_ended: torch.Tensor
    alive: torch.Tensor

    def rows(self, index: torch.Tensor) -> _Beams:
        """Return images `index`, int64 (B',)."""
        return _Beams(
            self.step,
            self.open.rows(index),
            self.parents[index],
            self.ended.rows(index),
            self.has_ended[index],
            self.alive[index],
        )


class BeamSearch:
    """The search of some images that start together; each is dropped when it ends."""

    def __init__(self, task: SearchTask, *, device: torch.device) -> None:
        """Start before the first token of the images of a task."""
        self._task = task
        self._beams = _start(len(task.image_ids), task, device=device)

    @property
    def token_ids(self) -> torch.Tensor:
        """The last token of each open branch, int64 (B, K)."""
        at = len(self._task.prompt_ids) + self._beams.step - 1
        return self._beams.open.token_ids[:, :, at]

    @property
    def parents(self) -> torch.Tensor:
        """The branch that each open branch continues, int64 (B, K)."""
        return self._beams.parents

    def advance(self, logits: torch.Tensor) -> dict[int, Hypothesis]:
        """Continue the best branches; return the images that end now, by row, and drop them.

        Args:
            logits: (B, K, V), or (B, 1, V) of the root of all branches.
        """
        logits = logits.expand(-1, self._task.config.num_beams, -1)
        beams = _step(self._beams, logits, self._task)
        found = {
            row: _best(beams.ended, row, self._task)
            for row in (~beams.alive).nonzero()[:, 0].tolist()
        }
        self._beams = beams.rows(beams.alive.nonzero()[:, 0]) if found else beams
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all images except `rows`, indices of current images."""
        device = self._beams.alive.device
        self._beams = self._beams.rows(torch.tensor(rows, dtype=torch.long, device=device))

    def tokens_so_far(self, row: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return no tokens: another branch may become the best."""
        return ()


def _start(batch: int, task: SearchTask, *, device: torch.device) -> _Beams:
    beams, prompt = task.config.num_beams, len(task.prompt_ids)
    token_ids = torch.zeros(
        (batch, beams, prompt + task.max_new_tokens), dtype=torch.long, device=device
    )
    token_ids[:, :, :prompt] = torch.tensor(task.prompt_ids, device=device)
    zeros = torch.zeros((batch, beams), device=device)
    # All branches are equal at the start: only the first continues, or all beams would be equal.
    scores = torch.full_like(zeros, NEVER)
    scores[:, 0] = 0.0
    parents = zeros.long()
    return _Beams(
        step=0,
        open=Branches(token_ids, scores, zeros, parents),
        parents=parents,
        ended=Branches(token_ids, torch.full_like(zeros, -torch.inf), zeros, parents),
        has_ended=zeros.bool(),
        alive=torch.ones(batch, dtype=torch.bool, device=device),
    )


def _step(beams: _Beams, logits: torch.Tensor, task: SearchTask) -> _Beams:
    """Return the beams with one more token each, chosen by logits (B, K, V)."""
    candidates, parents = _candidates(beams, logits, task)
    last = candidates.token_ids[:, :, len(task.prompt_ids) + beams.step]
    ends = (last == task.eos_token_id) | (beams.step + 1 == task.max_new_tokens)
    continuing = replace(candidates, scores=candidates.scores + ends * NEVER)
    order = continuing.scores.topk(task.config.num_beams).indices
    normaliser = float(beams.step + 1) ** task.config.length_penalty
    ended, has_ended = keep_ended(
        (beams.ended, beams.has_ended), candidates, ends=ends, normaliser=normaliser
    )
    following = _Beams(
        step=beams.step + 1,
        open=continuing.take(order),
        # After the prompt there is only one branch, whichever of the K copies continues.
        parents=parents.gather(1, order) if beams.step else torch.zeros_like(order),
        ended=ended,
        has_ended=has_ended,
        alive=~ends.all(dim=1),
    )
    improvable = can_improve(
        following.open.scores[:, :1] / normaliser,
        ended.scores,
        has_ended=has_ended,
        is_early=task.config.early_stopping,
    )
    return replace(following, alive=following.alive & improvable)


def _candidates(
    beams: _Beams, logits: torch.Tensor, task: SearchTask
) -> tuple[Branches, torch.Tensor]:
    """Return the best C continuations, and the open branch (B, C) that each continues."""
    at = len(task.prompt_ids) + beams.step
    logprobs = logits.float().log_softmax(dim=-1)
    scores = apply_penalties(logprobs, beams.open.token_ids[:, :, :at], task=task)
    vocabulary = scores.shape[2]
    totals = (scores + beams.open.scores[:, :, None]).flatten(1)
    best, index = totals.topk(2 * task.config.num_beams)
    parents = index // vocabulary
    continued = beams.open.take(parents)
    continued.token_ids[:, :, at] = index % vocabulary
    candidates = Branches(
        continued.token_ids,
        best,
        continued.logprobs + logprobs.flatten(1).gather(1, index),
        continued.lengths + 1,
    )
    return candidates, parents


def keep_ended(
    before: tuple[Branches, torch.Tensor],
    candidates: Branches,
    *,
    ends: torch.Tensor,
    normaliser: float | torch.Tensor,
) -> tuple[Branches, torch.Tensor]:
    """Return the K best ended branches, old and new, and which of them are real.

    Args:
        before: The old ones, and which of them are real, bool (B, K).
        candidates: C branches with a new token.
        ends: bool (B, C), which of them end with it.
        normaliser: Divisor of their scores; a tensor is (B, 1).
    """
    branches, is_real = before
    kept = is_real.shape[1]
    first = torch.arange(2 * kept, device=ends.device) < kept
    now = ends & first
    # Not a low number: a strongly negative length penalty ranks real captions below any.
    scores = (candidates.scores / normaliser).masked_fill(~now, -torch.inf)
    merged = Branches(
        torch.cat([branches.token_ids, candidates.token_ids], dim=1),
        torch.cat([branches.scores, scores], dim=1),
        torch.cat([branches.logprobs, candidates.logprobs], dim=1),
        torch.cat([branches.lengths, candidates.lengths], dim=1),
    )
    order = merged.scores.topk(kept).indices
    return merged.take(order), torch.cat([is_real, now], dim=1).gather(1, order)


def can_improve(
    best_open: torch.Tensor, ended: torch.Tensor, *, has_ended: torch.Tensor, is_early: bool
) -> torch.Tensor:
    """Return whether (B,) an open branch may still beat the worst ended one, as in HF.

    With `early_stopping`, K ended captions are enough. Otherwise the best open branch is compared
    as if it ended now: the heuristic of `early_stopping=False`.

    Args:
        best_open: Normalised score of the best open branch, float32 (B, 1).
        ended: Scores of the ended branches, float32 (B, K); -inf if there are fewer.
        has_ended: bool (B, K), which of them are real.
        is_early: `early_stopping`.
    """
    improvable: torch.Tensor = best_open[:, 0] > ended.min(dim=1).values
    if is_early:
        improvable = improvable & ~has_ended.all(dim=1)
    return improvable


def _best(ended: Branches, row: int, task: SearchTask) -> Hypothesis:
    start = len(task.prompt_ids)
    end = start + int(ended.lengths[row, 0])
    return Hypothesis(
        tuple(ended.token_ids[row, 0, start:end].tolist()), float(ended.logprobs[row, 0])
    )
