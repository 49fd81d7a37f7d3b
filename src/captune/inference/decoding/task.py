"""Input and result of every kind of search."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from captune.errors import PromptError
from captune.inference.decoding.quality import flag_caption
from captune.recipe import GenerateConfig
from captune.records import Prediction

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

    def predict(
        self, image_id: str, *, task: SearchTask, write: Callable[[Sequence[int]], str]
    ) -> Prediction:
        """Return the caption of the image.

        Args:
            image_id: Id of the image.
            task: The task of the search.
            write: Returns the text of generated tokens, without the end token.
        """
        token_ids = self.token_ids
        has_ended = token_ids[-1] == task.eos_token_id
        caption = write(token_ids[:-1] if has_ended else token_ids)
        return Prediction(
            image_id=image_id,
            caption=caption,
            mean_logprob=self.logprob_sum / len(token_ids),
            num_tokens=len(token_ids),
            finish_reason="eos" if has_ended else "length",
            flags=flag_caption(caption),
        )


def sampling_seed(seed: int, image_id: str) -> int:
    """Return the seed of an image's samples, 63 bits: the same in any batch and order."""
    name = f"{seed}\0{image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1
