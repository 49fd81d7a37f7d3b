"""What every way of searching takes and gives back."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from captune.recipe import GenerateConfig


@dataclass(frozen=True, slots=True)
class SearchTask:
    """What is searched for.

    Attributes:
        config: How tokens are chosen.
        image_ids: B ids; each seeds its own image's sampling.
        prompt_ids: Start token and prompt, given and not generated.
        eos_token_id: Token that ends a caption.
        max_new_tokens: Generated tokens at most, at least 1.
        suppressed_ids: Tokens that are never generated.
    """

    config: GenerateConfig
    image_ids: tuple[str, ...]
    prompt_ids: tuple[int, ...]
    eos_token_id: int
    max_new_tokens: int
    suppressed_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What was generated for one image.

    Attributes:
        token_ids: Generated tokens, the end token included where there is one.
        logprob_sum: Natural-log probability of these tokens under the model, before penalties.
    """

    token_ids: tuple[int, ...]
    logprob_sum: float


def is_worth_dropping(alive: torch.Tensor) -> bool:
    """Whether so many rows (bool (B,)) are finished that copying the cache of the rest pays.

    Dropping copies what stays, about as much as one step of appending to the cache does; a
    quarter of the rows saves that within the next step or two.
    """
    return int(alive.sum()) <= 0.75 * len(alive)
