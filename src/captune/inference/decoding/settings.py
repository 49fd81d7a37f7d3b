"""Checked decoding settings from keywords, for `LoadedCaptioner.caption` and the command line."""

from __future__ import annotations

from typing import Any, TypedDict

from pydantic import ValidationError

from captune.errors import RecipeError
from captune.recipe import GenerateConfig, plain_words
from captune.suggest import did_you_mean


class DecodingOptions(TypedDict, total=False):
    """The fields of `GenerateConfig`, all optional."""

    num_beams: int
    max_new_tokens: int
    min_new_tokens: int
    length_penalty: float
    early_stopping: bool
    no_repeat_ngram_size: int
    repetition_penalty: float
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    seed: int
    prompt: str


def decoding_config(options: DecodingOptions) -> GenerateConfig:
    """Return checked settings; sampling without `num_beams` uses one beam.

    Raises:
        RecipeError: A setting does not exist or has an invalid value; all are reported together.
    """
    values: dict[str, Any] = dict(options)
    if values.get("do_sample"):
        values.setdefault("num_beams", 1)
    try:
        return GenerateConfig.model_validate(values)
    except ValidationError as error:
        faults = [_explain(fault) for fault in error.errors(include_url=False)]
    raise RecipeError(
        "; ".join(faults),
        where="decoding",
        fix=f"settings: {', '.join(GenerateConfig.model_fields)}",
    )


def _explain(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown setting {name!r}{did_you_mean(name, GenerateConfig.model_fields)}"
    message = plain_words(str(fault["msg"]))
    return f"{name}: {message}, not {fault['input']!r}" if name else message
