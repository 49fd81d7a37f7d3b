"""Input and result of every kind of search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captune.errors import PromptError
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

MIN_TEMPERATURE = 1e-6
"""Scores up to 1e6 divided by it are far from the largest float32."""


@dataclass(frozen=True, slots=True)
class SearchTask:
    """Settings of a search.

    Attributes:
        config: Decoding settings.
        image_ids: B ids; each seeds the sampling of its image.
        prompt_ids: Start token, the family's template and the prompt; they are given, not
            generated.
        eos_token_id: Token that ends a caption.
        max_new_tokens: Maximum number of generated tokens, at least 1.
        suppressed_ids: Tokens that are never generated.
    """

    config: GenerateConfig
    image_ids: tuple[str, ...]
    prompt_ids: tuple[int, ...]
    eos_token_id: int
    max_new_tokens: int
    suppressed_ids: tuple[int, ...] = ()


def limit_new_tokens(
    config: GenerateConfig, prompt_ids: Sequence[int], *, max_positions: int
) -> int:
    """Return the maximum number of tokens that may follow a prompt.

    Args:
        config: Its `max_new_tokens` is the upper limit.
        prompt_ids: Tokens of the prompt, start token included.
        max_positions: Number of positions of the model.

    Raises:
        PromptError: The prompt leaves no room for a caption.
    """
    most = max_positions - len(prompt_ids)
    if most < 1:
        raise PromptError(
            f"the prompt is {len(prompt_ids)} tokens long (start token included) and the model has"
            f" {max_positions} positions",
            where="generate.prompt",
            fix="give a shorter prompt",
        )
    return min(config.max_new_tokens, most)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """Generated tokens of one image.

    Attributes:
        token_ids: Generated tokens, including the end token if there is one.
        logprob_sum: Natural-log probability of these tokens under the model, before penalties.
    """

    token_ids: tuple[int, ...]
    logprob_sum: float


def is_worth_dropping(alive: torch.Tensor | npt.NDArray[Any]) -> bool:
    """Return whether enough rows are finished that dropping them pays; `alive` is bool (B,).

    Dropping copies the rows that stay, which costs about as much as appending one step to the
    cache; a quarter fewer rows saves that within one or two steps.
    """
    return int(alive.sum()) <= 0.75 * len(alive)
