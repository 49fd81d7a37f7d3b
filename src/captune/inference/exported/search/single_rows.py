"""One branch per image in numpy: the best token at each step, or a sampled one.

The twin of `captune.inference.decoding.greedy`, with the same random numbers.
Shapes: B images, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captune.inference.decoding.task import Hypothesis, SearchTask, sampling_seed
from captune.inference.exported.search.branch_rows import Floats, Ints, NextScores
from captune.inference.exported.search.score_changes import change_scores, softmax, warp_scores


class SingleRows:
    """The search of some images that start together; each is dropped when it ends."""

    def __init__(self, task: SearchTask) -> None:
        """Start before the first token of the images of a task."""
        batch = len(task.image_ids)
        self._task = task
        self._token_ids: Ints = np.tile(np.array(task.prompt_ids, dtype=np.int64), (batch, 1))
        self._logprobs: Floats = np.zeros(batch, dtype=np.float32)
        self._draws = _draw(task)

    @property
    def token_ids(self) -> Ints:
        """The last token of each image, int64 (B, 1)."""
        return self._token_ids[:, -1:]

    @property
    def parents(self) -> Ints:
        """See `BeamRows.parents`: zeros, int64 (B, 1)."""
        return np.zeros_like(self.token_ids)

    def tokens_so_far(self, row: int) -> tuple[int, ...]:
        """Return the generated tokens of an image that has not ended."""
        return tuple(self._token_ids[row, len(self._task.prompt_ids) :].tolist())

    def advance(self, scores: NextScores) -> dict[int, Hypothesis]:
        """Choose a token per image; return the images that end now, by row, and drop them.

        Args:
            scores: Scores (B, 1, V), which are modified.
        """
        task = self._task
        step = self._token_ids.shape[1] - len(task.prompt_ids)
        chosen, logprobs = _choose(scores, self._token_ids, task, draws=self._draws[:, step])
        self._token_ids = np.concatenate([self._token_ids, chosen[:, None]], axis=1)
        self._logprobs = self._logprobs + logprobs
        ends = (chosen == task.eos_token_id) | (step + 1 == task.max_new_tokens)
        found = {
            row: Hypothesis(self.tokens_so_far(row), float(self._logprobs[row]))
            for row in np.flatnonzero(ends).tolist()
        }
        if found:
            self.keep(np.flatnonzero(~ends).tolist())
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all images except `rows`, indices of current images."""
        kept = np.array(rows, dtype=np.int64)
        self._token_ids, self._logprobs = self._token_ids[kept], self._logprobs[kept]
        self._draws = self._draws[kept]


def _draw(task: SearchTask) -> Floats:
    """Return the uniform numbers, float32 (B, max_new_tokens), that the torch twin draws."""
    if not task.config.do_sample:
        return np.zeros((len(task.image_ids), task.max_new_tokens), dtype=np.float32)
    return np.stack(
        [
            _uniform(sampling_seed(task.config.seed, image_id), task.max_new_tokens)
            for image_id in task.image_ids
        ]
    )


def _uniform(seed: int, count: int) -> Floats:
    # torch seeds its Mersenne Twister with the low 32 bits and keeps 24 bits per float.
    state = np.random.RandomState(seed & 0xFFFFFFFF)
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
