"""Packed beams give the same tokens as plain transformers, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from captune.inference.decoding.decode import plan_search, search
from captune.models import Captioner
from captune.recipe import GenerateConfig
from support.models.slow_twins import plain_generate

GREEDY = [
    GenerateConfig(num_beams=1, max_new_tokens=14),
    GenerateConfig(num_beams=1, max_new_tokens=5),
    GenerateConfig(num_beams=1, max_new_tokens=14, no_repeat_ngram_size=2),
    GenerateConfig(num_beams=1, max_new_tokens=14, repetition_penalty=1.3, min_new_tokens=6),
]
BEAMS = [
    GenerateConfig(num_beams=2, max_new_tokens=14, length_penalty=0.0),
    GenerateConfig(num_beams=3, max_new_tokens=14),
    GenerateConfig(num_beams=3, max_new_tokens=14, early_stopping=True),
    GenerateConfig(num_beams=4, max_new_tokens=14, length_penalty=2.0),
    GenerateConfig(num_beams=4, max_new_tokens=12, length_penalty=-1.0),
    GenerateConfig(num_beams=5, max_new_tokens=14, length_penalty=0.7, repetition_penalty=1.05),
    GenerateConfig(num_beams=5, max_new_tokens=14, no_repeat_ngram_size=2),
    GenerateConfig(num_beams=3, max_new_tokens=14, no_repeat_ngram_size=1, min_new_tokens=4),
    GenerateConfig(num_beams=5, max_new_tokens=3),
    GenerateConfig(num_beams=2, max_new_tokens=1),
]
ALL = [*GREEDY, *BEAMS]
FEW = (GREEDY[0], GREEDY[3], BEAMS[0], BEAMS[5])
CONFIGS = [pytest.param(one, marks=[] if one in FEW else pytest.mark.slow) for one in ALL]


THEIRS: dict[tuple[Captioner, str], list[tuple[int, ...]]] = {}


def _name(config: GenerateConfig) -> str:
    changed = config.model_dump(exclude_defaults=True)
    return "-".join(f"{key}={value}" for key, value in changed.items())


@pytest.mark.parametrize("config", CONFIGS, ids=_name)
def test_tokens_equal_those_of_transformers_one_image_at_a_time(family, config, backend_of):
    captioner, pixels, states = family
    ours = _search(captioner, states, config, backend_of)
    # Of captioner and settings; both backends are compared with them.
    key = (captioner, _name(config))
    if key not in THEIRS:
        THEIRS[key] = [plain_generate(captioner, image[None], config) for image in pixels]
    assert ours == THEIRS[key]


def test_the_compared_captions_differ_by_image_and_in_length(family):
    captioner, _, states = family
    found = [
        _search(captioner, states, config, _itself) for config in (GREEDY[0], BEAMS[1], BEAMS[3])
    ]
    rows = [tuple(tokens) for hypotheses in found for tokens in hypotheses]
    assert len(set(rows)) > len(rows) // 2
    assert len({len(row) for row in rows}) > 5


@pytest.mark.parametrize("num_beams", [1, 4])
def test_suppressed_tokens_are_avoided_as_by_transformers(
    family, num_beams, monkeypatch, backend_of
):
    captioner, pixels, states = family
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=8)
    liked = {token for tokens in _search(captioner, states, config, _itself) for token in tokens}
    forbidden = sorted(liked - {captioner.eos_token_id})[::2]
    monkeypatch.setattr(captioner.model.generation_config, "suppress_tokens", forbidden)
    # BLIP's `generate` reads no file, so they are an argument.
    theirs = [
        plain_generate(captioner, image[None], config, suppress_tokens=forbidden)
        for image in pixels
    ]
    ours = _search(captioner, states, config, backend_of)
    assert ours == theirs
    assert not {token for tokens in ours for token in tokens} & set(forbidden)


def _itself(captioner: Captioner) -> Captioner:
    return captioner


def _search(
    captioner: Captioner,
    states: torch.Tensor,
    config: GenerateConfig,
    backend_of: Callable[[Captioner], Any],
) -> list[tuple[int, ...]]:
    image_ids = [str(number) for number in range(len(states))]
    task = plan_search(captioner, image_ids, config=config)
    with torch.inference_mode():
        found = search(backend_of(captioner), states, task=task)
    return [hypothesis.token_ids for hypothesis in found]
