"""Penalties and warpers equal transformers' own processors on random scores."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from captune.inference.decoding.logits import apply_penalties, warp
from captune.inference.decoding.task import SearchTask
from captune.recipe import GenerateConfig

EOS, VOCABULARY, PROMPT = 3, 17, 2


def _random(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    scores = torch.randn(4, 3, VOCABULARY, generator=generator) * 3
    tokens = torch.randint(VOCABULARY - 10, (4, 3, length), generator=generator)
    return scores, tokens


@pytest.mark.parametrize("length", [2, 3, 5, 12, 40])
@pytest.mark.parametrize(
    "config",
    [
        GenerateConfig(repetition_penalty=1.3),
        GenerateConfig(repetition_penalty=0.7),
        GenerateConfig(no_repeat_ngram_size=1),
        GenerateConfig(no_repeat_ngram_size=2),
        GenerateConfig(no_repeat_ngram_size=3),
        GenerateConfig(min_new_tokens=4),
        GenerateConfig(repetition_penalty=1.1, no_repeat_ngram_size=2, min_new_tokens=9),
    ],
)
@pytest.mark.parametrize("suppressed", [(), (5, EOS)])
def test_penalties_equal_transformers_processors(config, suppressed, length):
    scores, tokens = _random(length)
    before = scores.clone()
    task = SearchTask(
        config=config,
        image_ids=("a", "b", "c", "d"),
        prompt_ids=(1,) * PROMPT,
        eos_token_id=EOS,
        max_new_tokens=50,
        suppressed_ids=suppressed,
    )
    ours = apply_penalties(scores, tokens, task=task)
    processors = LogitsProcessorList()
    if config.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
    if config.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.min_new_tokens:
        processors.append(MinNewTokensLengthLogitsProcessor(PROMPT, config.min_new_tokens, EOS))
    if suppressed:
        processors.append(SuppressTokensLogitsProcessor(suppressed))
    theirs = processors(tokens.flatten(0, 1), scores.clone().flatten(0, 1))
    assert torch.equal(ours.flatten(0, 1), theirs)
    assert torch.equal(scores, before)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.5},
        {"top_k": 4},
        {"top_k": 1000},
        {"top_p": 0.8},
        {"top_p": 0.01},
        {"temperature": 1.7, "top_k": 9, "top_p": 0.6},
    ],
)
def test_warpers_equal_transformers_warpers(settings):
    scores = _random(2)[0].flatten(0, 1)
    processors = LogitsProcessorList()
    for name, warper in (
        ("temperature", TemperatureLogitsWarper),
        ("top_k", TopKLogitsWarper),
        ("top_p", TopPLogitsWarper),
    ):
        if name in settings:
            processors.append(warper(settings[name]))
    config = GenerateConfig(num_beams=1, do_sample=True, **settings)
    assert torch.equal(warp(scores, config), processors(torch.zeros(12, 1).long(), scores.clone()))
