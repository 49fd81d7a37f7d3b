"""Beam search in numpy with the same steps as `captune.inference.decoding.beams`, its torch twin.

Shapes: B images, K beams, C = 2 K candidates, V vocabulary, P prompt tokens, N maximum new tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from captune.inference.decoding.task import Hypothesis, SearchTask
from captune.inference.exported.search.branch_rows import Floats, Ints, NextScores
from captune.inference.exported.search.score_changes import change_scores

_NEVER = np.float32(-1.0e9)
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class _Branches:
    """Some branches of each image, best first.

    Attributes:
        token_ids: int64 (B, K, P + N), filled from the left.
        scores: float32 (B, K), by which branches are ranked.
        logprobs: float32 (B, K), log-probabilities under the model, without penalties.
        lengths: int64 (B, K), numbers of generated tokens.
    """

    token_ids: Ints
    scores: Floats
    logprobs: Floats
    lengths: Ints

    def take(self, index: Ints) -> _Branches:
        """Return branches `index` (B, K')."""
        numbers = (np.take_along_axis(getattr(self, f.name), index, 1) for f in fields(self)[1:])
        return _Branches(np.take_along_axis(self.token_ids, index[:, :, None], 1), *numbers)

    def rows(self, index: Ints) -> _Branches:
        """Return images `index` (B',)."""
        return _Branches(*(getattr(self, f.name)[index] for f in fields(self)))


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
    open: _Branches
    parents: Ints
    ended: _Branches
    has_ended: npt.NDArray[np.bool_]
    alive: npt.NDArray[np.bool_]

    def rows(self, index: Ints) -> _Beams:
        """Return images `index` (B',)."""
        return _Beams(
            self.step,
            self.open.rows(index),
            self.parents[index],
            self.ended.rows(index),
            self.has_ended[index],
            self.alive[index],
        )


class BeamRows:
    """The search of some images that start together; each is dropped when it ends."""

    def __init__(self, task: SearchTask) -> None:
        """Start before the first token of the images of a task."""
        self._task = task
        self._beams = _start(len(task.image_ids), task)

    @property
    def token_ids(self) -> Ints:
        """The last token of each open branch, int64 (B, K)."""
        at = len(self._task.prompt_ids) + self._beams.step - 1
        return self._beams.open.token_ids[:, :, at]

    @property
    def parents(self) -> Ints:
        """The branch that each open branch continues, int64 (B, K)."""
        return self._beams.parents

    def advance(self, scores: NextScores) -> dict[int, Hypothesis]:
        """Continue the best branches; return the images that end now, by row, and drop them.

        Args:
            scores: Scores (B, K, V), or (B, 1, V) of the root of all branches; they are modified.
        """
        count = self._task.config.num_beams
        if scores.logits.shape[1] < count:
            parts = (scores.logits, scores.normalizer)
            scores = NextScores(*(np.repeat(part, count, 1) for part in parts))
        beams = _step(self._beams, scores, self._task)
        found = {
            row: _best(beams.ended, row, self._task)
            for row in np.flatnonzero(~beams.alive).tolist()
        }
        self._beams = beams.rows(np.flatnonzero(beams.alive)) if found else beams
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all images except `rows`, indices of current images."""
        self._beams = self._beams.rows(np.array(rows, dtype=np.int64))

    def tokens_so_far(self, row: int) -> tuple[int, ...]:  # noqa: ARG002
        """Return no tokens: another branch may become the best."""
        return ()


def top_candidates(scores: Floats, offsets: Floats, *, count: int) -> tuple[Floats, Ints]:
    """Return the `count` best of scores (B, K, V) + offsets (B, K), and their places in K * V.

    The best candidates are in the chunks with the highest maxima, so that most scores are read
    only once.

    Args:
        scores: float32 (B, K, V).
        offsets: float32 (B, K), added to all scores of a beam.
        count: Number of candidates per image.

    Returns:
        Sums and places, (B, count) each, in descending order of the sums.
    """
    batch, beams, vocabulary = scores.shape
    num_chunks = -(-vocabulary // _CHUNK)
    if num_chunks * beams <= 2 * count:
        totals = (scores + offsets[:, :, None]).reshape(batch, -1)
        order = _largest(totals, count)
        return np.take_along_axis(totals, order, 1), order
    whole = vocabulary // _CHUNK * _CHUNK
    heights = np.empty((batch, beams, num_chunks), dtype=np.float32)
    whole_chunks = scores[:, :, :whole].reshape(batch, beams, -1, _CHUNK)
    heights[:, :, : whole // _CHUNK] = whole_chunks.max(axis=3)
    if whole < vocabulary:
        heights[:, :, -1] = scores[:, :, whole:].max(axis=2)
    chunks = _largest((heights + offsets[:, :, None]).reshape(batch, -1), count)
    beam, chunk = chunks // num_chunks, chunks % num_chunks
    token = chunk[:, :, None] * _CHUNK + np.arange(_CHUNK)
    outside = token >= vocabulary
    token = np.minimum(token, vocabulary - 1)
    image = np.arange(batch)[:, None, None]
    read = scores[image, beam[:, :, None], token] + np.take_along_axis(offsets, beam, 1)[:, :, None]
    read[outside] = -np.inf
    read = read.reshape(batch, -1)
    order = _largest(read, count)
    places = (beam[:, :, None] * vocabulary + token).reshape(batch, -1)
    return np.take_along_axis(read, order, 1), np.take_along_axis(places, order, 1)


def _largest(values: Floats, count: int) -> Ints:
    """Return the places (B, count) of the largest values, in descending order."""
    if count < values.shape[1]:
        some = np.argpartition(-values, count - 1, axis=1)[:, :count]
    else:
        some = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    order = np.argsort(-np.take_along_axis(values, some, 1), axis=1, kind="stable")
    return np.take_along_axis(some, order, 1)


def _start(batch: int, task: SearchTask) -> _Beams:
    beams, prompt = task.config.num_beams, len(task.prompt_ids)
    token_ids = np.zeros((batch, beams, prompt + task.max_new_tokens), dtype=np.int64)
    token_ids[:, :, :prompt] = task.prompt_ids
    zeros = np.zeros((batch, beams), dtype=np.float32)
    # All branches are equal at the start: only the first continues, or all beams would be equal.
    scores = np.full_like(zeros, _NEVER)
    scores[:, 0] = 0.0
    parents = zeros.astype(np.int64)
    return _Beams(
        step=0,
        open=_Branches(token_ids, scores, zeros, parents),
        parents=parents,
        ended=_Branches(token_ids, np.full_like(zeros, -np.inf), zeros, parents),
        has_ended=zeros.astype(np.bool_),
        alive=np.ones(batch, dtype=np.bool_),
    )


def _step(beams: _Beams, scores: NextScores, task: SearchTask) -> _Beams:
    """Return the beams with one more token each."""
    candidates, parents = _candidates(beams, scores, task)
    last = candidates.token_ids[:, :, len(task.prompt_ids) + beams.step]
    ends = (last == task.eos_token_id) | (beams.step + 1 == task.max_new_tokens)
    closed = np.where(ends, _NEVER, np.float32(0.0))
    continuing = replace(candidates, scores=candidates.scores + closed)
    order = _largest(continuing.scores, task.config.num_beams)
    ended, has_ended = _merge_ended(beams, candidates, ends=ends, task=task)
    following = _Beams(
        step=beams.step + 1,
        open=continuing.take(order),
        # After the prompt there is only one branch, whichever of the K copies continues.
        parents=np.take_along_axis(parents, order, 1) if beams.step else np.zeros_like(order),
        ended=ended,
        has_ended=has_ended,
        alive=~ends.all(axis=1),
    )
    return replace(following, alive=following.alive & _can_improve(following, task))


def _candidates(beams: _Beams, scores: NextScores, task: SearchTask) -> tuple[_Branches, Ints]:
    """Return the best C continuations, and the open branch (B, C) that each continues."""
    at = len(task.prompt_ids) + beams.step
    # Bans cannot be chosen; only a penalty changes a score whose original is needed below.
    is_penalized = task.config.repetition_penalty != 1.0
    changed = scores.logits.copy() if is_penalized else scores.logits
    tokens = beams.open.token_ids[:, :, :at]
    change_scores(changed, tokens, task=task, shift=scores.normalizer)
    offsets = beams.open.scores - scores.normalizer
    best, index = top_candidates(changed, offsets, count=2 * task.config.num_beams)
    parents, token = np.divmod(index, scores.logits.shape[2])
    continued = beams.open.take(parents)
    continued.token_ids[:, :, at] = token
    image = np.arange(len(index))[:, None]
    logprobs = scores.logits[image, parents, token] - scores.normalizer[image, parents]
    candidates = _Branches(
        continued.token_ids, best, continued.logprobs + logprobs, continued.lengths + 1
    )
    return candidates, parents


def _merge_ended(
    beams: _Beams, candidates: _Branches, *, ends: npt.NDArray[np.bool_], task: SearchTask
) -> tuple[_Branches, npt.NDArray[np.bool_]]:
    """Return the K best ended branches, old and new, and which of them are real."""
    kept = task.config.num_beams
    now = ends & (np.arange(2 * kept) < kept)
    normaliser = np.float32(float(beams.step + 1) ** task.config.length_penalty)
    scores = np.where(now, candidates.scores / normaliser, np.float32(-np.inf))
    before, after = beams.ended, replace(candidates, scores=scores)
    merged = _Branches(
        *(
            np.concatenate([getattr(before, f.name), getattr(after, f.name)], axis=1)
            for f in fields(before)
        )
    )
    order = _largest(merged.scores, kept)
    real = np.take_along_axis(np.concatenate([beams.has_ended, now], axis=1), order, 1)
    return merged.take(order), real


def _can_improve(beams: _Beams, task: SearchTask) -> npt.NDArray[np.bool_]:
    """Return whether (B,) an open branch may still beat the worst ended one; see the twin."""
    normaliser = np.float32(float(beams.step) ** task.config.length_penalty)
    reachable = beams.open.scores[:, 0] / normaliser
    improvable: npt.NDArray[np.bool_] = reachable > beams.ended.scores.min(axis=1)
    if task.config.early_stopping:
        improvable &= ~beams.has_ended.all(axis=1)
    return improvable


def _best(ended: _Branches, row: int, task: SearchTask) -> Hypothesis:
    start = len(task.prompt_ids)
    end = start + int(ended.lengths[row, 0])
    tokens = tuple(ended.token_ids[row, 0, start:end].tolist())
    return Hypothesis(tokens, float(ended.logprobs[row, 0]))
