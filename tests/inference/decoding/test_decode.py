"""`generate`: its results; a caption depends only on its own image."""

from __future__ import annotations

import pytest
import torch

from captune.errors import ModelError
from captune.inference import generate
from captune.inference.decoding.decode import plan_search, search
from captune.recipe import GenerateConfig
from support.models.wild_models import noise_images, wild_captioner

SETTINGS = [
    GenerateConfig(num_beams=1, max_new_tokens=14),
    GenerateConfig(num_beams=4, max_new_tokens=14),
    GenerateConfig(num_beams=1, max_new_tokens=14, do_sample=True, temperature=1.5, seed=5),
]


def _captions(captioner, states, config, image_ids=None):
    ids = image_ids or [str(number) for number in range(len(states))]
    return {
        p.image_id: (p.caption, p.num_tokens)
        for p in generate(captioner, states, image_ids=ids, config=config)
    }


@pytest.mark.parametrize("config", SETTINGS, ids=["greedy", "beams", "samples"])
def test_a_caption_depends_only_on_its_own_image(family, config):
    captioner, _, states = family
    together = _captions(captioner, states, config)
    alone = {}
    for number, state in enumerate(states):
        alone |= _captions(captioner, state[None], config, [str(number)])
    backwards = _captions(captioner, states.flip(0), config, [str(n) for n in range(8)][::-1])
    assert together == alone == backwards


def test_dropping_finished_images_does_not_change_captions(blip):
    captioner, states = blip
    config = GenerateConfig(num_beams=3, max_new_tokens=30)
    lengths = [count for _, count in _captions(captioner, states, config).values()]
    assert min(lengths) < 6, "some must end long before the last for this test to be valid"
    assert max(lengths) > 15
    halves = _captions(captioner, states[:6], config) | _captions(
        captioner, states[6:], config, [str(n) for n in range(6, 12)]
    )
    assert _captions(captioner, states, config) == halves


def test_the_strongest_length_penalty_for_short_captions_leaves_none_empty(blip):
    captioner, states = blip
    # Their scores are below -1e10.
    config = GenerateConfig(num_beams=3, max_new_tokens=14, min_new_tokens=9, length_penalty=-10.0)
    lengths = {count for _, count in _captions(captioner, states, config).values()}
    assert min(lengths) == 10, "some must end as early as they may for this test to be valid"
    assert max(lengths) <= 14


@pytest.mark.parametrize(
    "config",
    [
        *SETTINGS,
        GenerateConfig(num_beams=3, max_new_tokens=9, repetition_penalty=1.3, min_new_tokens=3),
    ],
)
def test_mean_logprob_is_the_models_own_without_penalties(family, config):
    captioner, _, states = family
    ids = [str(number) for number in range(len(states))]
    predictions = generate(captioner, states, image_ids=ids, config=config)
    with torch.inference_mode():
        found = search(captioner, states, task=plan_search(captioner, ids, config=config))
        for row, prediction in enumerate(predictions):
            expected = _logprob(captioner, states[row : row + 1], found[row].token_ids)
            assert prediction.num_tokens == len(found[row].token_ids)
            assert prediction.mean_logprob == pytest.approx(
                expected / prediction.num_tokens, abs=2e-3
            )


def _logprob(captioner, state, token_ids):
    """Return the log-probability of a caption in one pass without a cache."""
    from captune.models import VisionContext, additive_mask

    ids = torch.tensor([[captioner.bos_token_id, *token_ids]])
    length = ids.shape[1]
    mask = additive_mask(torch.ones(length, length, dtype=torch.bool).tril(), torch.float32)
    hidden = captioner.hidden_states(
        VisionContext(state),
        ids,
        position_ids=torch.arange(length)[None],
        attention_mask=mask[None, None],
    )
    logprobs = captioner.lm_head(hidden).log_softmax(-1)[0]
    return sum(float(logprobs[at, token]) for at, token in enumerate(token_ids))


def test_finish_reason_distinguishes_an_end_from_the_length_limit(blip):
    captioner, states = blip
    cut = generate(
        captioner, states[:1], image_ids=["a"], config=GenerateConfig(num_beams=2, max_new_tokens=2)
    )[0]
    assert (cut.finish_reason, cut.num_tokens) == ("length", 2)
    config = GenerateConfig(num_beams=1, max_new_tokens=40)
    ended = [
        p
        for p in generate(captioner, states, image_ids=list("abcdefghijkl"), config=config)
        if p.num_tokens < 40
    ]
    assert ended
    assert {p.finish_reason for p in ended} == {"eos"}


def test_the_caption_starts_with_the_prompt_and_counts_only_new_tokens(blip):
    captioner, states = blip
    config = GenerateConfig(num_beams=3, max_new_tokens=4, prompt="the red dog")
    for prediction in generate(captioner, states[:3], image_ids=list("abc"), config=config):
        assert prediction.caption.startswith("the red dog")
        assert prediction.num_tokens <= 4


def test_a_prompt_longer_than_the_model_is_refused(blip):
    captioner, states = blip
    config = GenerateConfig(prompt="dog " * captioner.max_positions)
    with pytest.raises(ModelError, match=r"the prompt is 513 tokens long .*512 positions"):
        generate(captioner, states[:1], image_ids=["a"], config=config)


def test_max_new_tokens_is_limited_by_the_positions_of_the_model(blip):
    captioner, _ = blip
    task = plan_search(
        captioner, ["a"], config=GenerateConfig(max_new_tokens=4096, prompt="the dog")
    )
    assert task.max_new_tokens == 512 - 3


def test_without_images_there_are_no_captions(blip):
    captioner, states = blip
    assert generate(captioner, states[:0], image_ids=[], config=GenerateConfig()) == []


def test_a_model_in_training_mode_decodes_without_dropout_and_returns_to_it():
    captioner = wild_captioner("vit-bert-tiny")
    with torch.inference_mode():
        states = captioner.encode(noise_images())
    config = GenerateConfig(num_beams=2, max_new_tokens=10)
    expected = _captions(captioner, states, config)
    captioner.train_mode()
    dropouts = [m for m in captioner.model.modules() if isinstance(m, torch.nn.Dropout) and m.p]
    assert dropouts
    assert _captions(captioner, states, config) == expected
    assert captioner.model.training
    assert all(module.training for module in dropouts)


def test_bf16_autocast_decodes_too(family):
    captioner, _, states = family
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = generate(captioner, states, image_ids=list("abcdefgh"), config=SETTINGS[1])
    assert all(p.num_tokens >= 1 and p.mean_logprob <= 0 for p in predictions)
