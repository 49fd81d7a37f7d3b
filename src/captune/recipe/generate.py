"""The decoding settings of a recipe, in a module of their own: captioning needs no others."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from captune.recipe.value_types import NonNegativeInt, PositiveFloat, Section, Seed


class GenerateConfig(Section):
    """How captions are decoded; the names are Hugging Face's."""

    num_beams: Annotated[int, Field(ge=1, le=64)] = Field(3, description="Beams; 1: greedy.")
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = Field(
        30, description="Maximum new tokens per caption."
    )
    min_new_tokens: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, description="Minimum new tokens per caption."
    )
    length_penalty: Annotated[float, Field(ge=-10.0, le=10.0)] = Field(
        1.0, description="Beams are ranked by log-probability / length ** this."
    )
    early_stopping: bool = Field(
        False, description="Stop the search of an image once num_beams captions are complete."
    )
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=4096)] = Field(
        0, description="Length of word-piece sequences that may occur only once; 0: off."
    )
    repetition_penalty: PositiveFloat = Field(
        1.0, description="Divisor of the scores of tokens already used; 1: off."
    )
    do_sample: bool = Field(False, description="Sample instead of taking the best token.")
    temperature: PositiveFloat = Field(
        1.0, description="Sampling: below 1, likely tokens become more likely."
    )
    top_k: NonNegativeInt = Field(0, description="Sampling: use the k most likely tokens; 0: all.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Sampling: use the fewest tokens that reach this probability, 0..1."
    )
    seed: Seed = Field(0, description="Seed of sampling.")
    prompt: str = Field("", description="Text that every caption starts with.")

    @model_validator(mode="after")
    def _beams_or_samples(self) -> Self:
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample needs num_beams: 1")
        return self
