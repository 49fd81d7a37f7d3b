"""One branch per image: the best token at each step, or a sampled one.

Shapes: B images, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from captune.inference.decoding.logits import apply_penalties, warp
from captune.inference.decoding.task import Hypothesis, SearchTask, sampling_seed
from captune.recipe import GenerateConfig


class SingleSearch:
    """The search of some images that start together; each is dropped when it ends."""

    def __init__(self, task: SearchTask, *, device: torch.device) -> None:
        """Start before the first token of the images of a task."""
        batch = len(task.image_ids)
        self._task = task
        self._token_ids = torch.tensor(task.prompt_ids, device=device).expand(batch, -1)
        self._logprobs = torch.zeros(batch, device=device)
        self._draws = draw_uniform(task)

    @property
    def token_ids(self) -> torch.Tensor:
        """The last token of each image, int64 (B, 1)."""
        return self._token_ids[:, -1:]

    @property
    def parents(self) -> torch.Tensor:
        """See `BeamSearch.parents`: zeros, int64 (B, 1)."""
        return torch.zeros_like(self.token_ids)

    def tokens_so_far(self, row: int) -> tuple[int, ...]:
        """Return the generated tokens of an image that has not ended."""
        return tuple(self._token_ids[row, len(self._task.prompt_ids) :].tolist())

    def advance(self, logits: torch.Tensor) -> dict[int, Hypothesis]:
        """Choose a token per image; return the images that end now, by row, and drop them.

        Args:
            logits: (B, 1, V).
        """
        task = self._task
        step = self._token_ids.shape[1] - len(task.prompt_ids)
        draws = self._draws[:, step].to(logits.device)
        logits = logits[:, 0].float()
        scores = apply_penalties(logits[:, None], self._token_ids[:, None], task=task)[:, 0]
        chosen, logprobs = choose_tokens(logits, scores, config=task.config, draws=draws)
        self._token_ids = torch.cat([self._token_ids, chosen[:, None]], dim=1)
        self._logprobs = self._logprobs + logprobs
        ends = (chosen == task.eos_token_id) | (step + 1 == task.max_new_tokens)
        found = {
            row: Hypothesis(self.tokens_so_far(row), float(self._logprobs[row]))
            for row in ends.nonzero()[:, 0].tolist()
        }
        if found:
            self.keep((~ends).nonzero()[:, 0].tolist())
        return found

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all images except `rows`, indices of current images."""
        kept = torch.tensor(rows, dtype=torch.long)
        self._draws = self._draws[kept]
        kept = kept.to(self._token_ids.device)
        self._token_ids, self._logprobs = self._token_ids[kept], self._logprobs[kept]


def draw_uniform(task: SearchTask) -> torch.Tensor:
    """Draw uniform numbers, float32 (B, max_new_tokens) in [0, 1), with one generator per image.

    They depend only on the seed and the image's id, so that an image gets the same sample in any
    batch.
    """
    if not task.config.do_sample:
        return torch.zeros((len(task.image_ids), task.max_new_tokens))
    return torch.stack(
        [
            torch.rand(
                task.max_new_tokens,
                generator=torch.Generator().manual_seed(sampling_seed(task.config.seed, image_id)),
            )
            for image_id in task.image_ids
        ]
    )


def choose_tokens(
    logits: torch.Tensor, scores: torch.Tensor, *, config: GenerateConfig, draws: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the next tokens, int64 (B,), and their log-probabilities under the model (B,).

    Args:
        logits: float32 (B, V).
        scores: float32 (B, V), the logits after penalties.
        config: Whether and how to sample.
        draws: float32 (B,) in [0, 1), which choose the samples.
    """
    if config.do_sample:
        chosen = _invert_cdf(warp(scores, config).softmax(dim=-1), draws)
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
