"""Decoding settings from three sources: the user's, the model's own, and captune's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captune.recipe.generate import GenerateConfig

BEAM_SETTINGS = ("length_penalty", "early_stopping")
"""Settings that have no effect with one beam."""

SAMPLING_SETTINGS = ("temperature", "top_k", "top_p")
"""Settings that have no effect without sampling."""


def fill_decoding(given: GenerateConfig, own: Mapping[str, Any]) -> GenerateConfig:
    """Return the given settings, filled from the model's own, then from captune's defaults.

    Args:
        given: Settings of the user; only fields that were set explicitly count.
        own: The model's settings, fields of `GenerateConfig`.
    """
    asked = given.model_dump(include=given.model_fields_set)
    base = dict(own)
    if asked.get("do_sample") or asked.get("num_beams", 1) > 1:
        # Beams and sampling exclude each other: a request for one drops the model's other.
        dropped = BEAM_SETTINGS if asked.get("do_sample") else ("do_sample", *SAMPLING_SETTINGS)
        base = {name: value for name, value in base.items() if name not in dropped}
    return GenerateConfig.model_validate({**base, **asked})
