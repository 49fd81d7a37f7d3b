"""Images that take the rows of others that have ended get the captions that they get alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from captune.inference.decoding.decode import plan_search, search
from captune.inference.decoding.running import RunningSearch
from captune.models import fast_text
from captune.recipe import GenerateConfig
from support.models.wild_models import noise_images, wild_captioner

NUM_ROWS = 3
SETTINGS = {
    "greedy": GenerateConfig(num_beams=1, max_new_tokens=18),
    "beams": GenerateConfig(num_beams=3, max_new_tokens=18),
    "samples": GenerateConfig(
        num_beams=1, max_new_tokens=18, do_sample=True, temperature=1.5, seed=5
    ),
    "a prompt and penalties": GenerateConfig(
        num_beams=2,
        max_new_tokens=9,
        prompt="the red dog",
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
        min_new_tokens=2,
    ),
}


def _in_turns(backend, states, task, *, num_rows=NUM_ROWS):
    """Return the hypothesis of each image, and how many started while others were running."""
    running = RunningSearch(backend, task)
    found, started, joined = {}, 0, 0
    while len(found) < len(states):
        room = num_rows if not running.num_running else running.num_free
        now = range(started, min(started + room, len(states)))
        if now and running.may_replace:
            joined += len(now) if running.num_running else 0
            ids = [task.image_ids[number] for number in now]
            found |= dict(running.add(ids, states[list(now)]))
            started = now.stop
        else:
            found |= dict(running.step())
    return [found[number] for number in range(len(states))], joined


def _alone(backend, states, task):
    return [
        search(backend, states[number, None], task=replace(task, image_ids=(image_id,)))[0]
        for number, image_id in enumerate(task.image_ids)
    ]


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
@torch.inference_mode()
def test_images_that_join_later_get_their_own_captions(family, config):
    captioner, _, states = family
    task = plan_search(captioner, [str(n) for n in range(len(states))], config=config)
    backend = fast_text(captioner, torch.float32)
    found, _ = _in_turns(backend, states, task)
    expected = _alone(backend, states, task)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    logprobs = [one.logprob_sum for one in expected]
    assert [one.logprob_sum for one in found] == pytest.approx(logprobs, abs=1e-3)


def _arriving(backend, states, task, *, at_once):
    """Start with one image; others join after each step, whether or not rows are free."""
    running = RunningSearch(backend, task)
    found, sizes = dict(running.add(task.image_ids[:1], states[:1])), []
    for start in range(1, len(states), at_once):
        running.drop_free_rows()
        if running.num_running:
            found |= dict(running.step())
        now = slice(start, start + at_once)
        found |= dict(running.add(task.image_ids[now], states[now]))
        sizes.append(running.num_running)
    while running.num_running:
        running.drop_free_rows()
        found |= dict(running.step())
    return [found[number] for number in range(len(states))], sizes


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
@torch.inference_mode()
def test_images_that_join_without_free_rows_get_their_own_captions(family, config, at_once):
    captioner, _, states = family
    task = plan_search(captioner, [str(n) for n in range(len(states))], config=config)
    backend = fast_text(captioner, torch.float32)
    found, sizes = _arriving(backend, states, task, at_once=at_once)
    assert max(sizes) > at_once
    expected = _alone(backend, states, task)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    logprobs = [one.logprob_sum for one in expected]
    assert [one.logprob_sum for one in found] == pytest.approx(logprobs, abs=1e-3)


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.inference_mode()
def test_images_join_without_free_rows_where_the_vision_states_are_read_without_keys(num_beams):
    captioner = wild_captioner("vit-bert-tiny", image_size=96)
    states = captioner.encode(noise_images(8, side=96))
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=16)
    task = plan_search(captioner, [str(n) for n in range(8)], config=config)
    backend = fast_text(captioner, torch.float16)
    found, sizes = _arriving(backend, states, task, at_once=2)
    assert max(sizes) > 2
    expected = _alone(backend, states, task)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]


@pytest.mark.parametrize("config", SETTINGS.values(), ids=SETTINGS)
@torch.inference_mode()
def test_images_that_are_stopped_change_no_other_caption(blip, config):
    captioner, states = blip
    task = plan_search(captioner, [str(n) for n in range(6)], config=config)
    running = RunningSearch(fast_text(captioner, torch.float32), task)
    found = dict(running.add(task.image_ids[:4], states[:4]))
    found |= dict(running.step())
    stopped = [number for number in (0, 2) if number not in found]
    for number in stopped:
        running.drop(number)
    assert running.num_free >= len(stopped)
    found |= dict(running.add(task.image_ids[4:], states[4:6]))
    while running.num_running:
        running.drop_free_rows()
        found |= dict(running.step())
    expected = _alone(fast_text(captioner, torch.float32), states[:6], task)
    assert sorted(found) == [number for number in range(6) if number not in stopped]
    for number, hypothesis in found.items():
        assert hypothesis.token_ids == expected[number].token_ids


@torch.inference_mode()
def test_the_last_image_that_is_stopped_ends_the_search(blip):
    captioner, states = blip
    task = plan_search(captioner, ["a"], config=SETTINGS["beams"])
    running = RunningSearch(fast_text(captioner, torch.float32), task)
    running.add(["a"], states[:1])
    running.drop(0)
    assert (running.num_running, running.num_free) == (0, 0)
    found = dict(running.add(["a"], states[:1]))
    while running.num_running:
        found |= dict(running.step())
    (expected,) = _alone(fast_text(captioner, torch.float32), states[:1], task)
    assert found[1].token_ids == expected.token_ids


@torch.inference_mode()
def test_the_tokens_of_a_running_image_are_the_beginning_of_its_caption(blip):
    captioner, states = blip
    for name, is_known in (("greedy", True), ("samples", True), ("beams", False)):
        task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS[name])
        running = RunningSearch(fast_text(captioner, torch.float32), task)
        found, seen = dict(running.add(task.image_ids, states)), {}
        while running.num_running:
            for number in set(range(12)) - set(found):
                seen.setdefault(number, []).append(running.tokens_so_far(number))
            found |= dict(running.step())
        for number, parts in seen.items():
            whole = found[number].token_ids
            expected = [whole[: n + 1] if is_known else () for n in range(len(parts))]
            assert parts == expected
        assert running.tokens_so_far(0) == ()


@pytest.mark.slow
@pytest.mark.parametrize("num_beams", [1, 3])
@torch.inference_mode()
def test_many_images_pass_through_rows_whose_memory_is_reused(blip, num_beams):
    captioner, states = blip
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=30)
    states = states.repeat(4, 1, 1)
    task = plan_search(captioner, [str(n) for n in range(len(states))], config=config)
    backend = fast_text(captioner, torch.float32)
    found, joined = _in_turns(backend, states, task)
    lengths = {len(one.token_ids) for one in found}
    assert joined > len(states) // 2
    assert min(lengths) < 6, "lengths must differ for this test to be valid"
    assert max(lengths) > 15
    expected = _alone(backend, states[:12], task=replace(task, image_ids=task.image_ids[:12]))
    tokens = [one.token_ids for one in expected]
    assert [one.token_ids for one in found] == tokens * 4


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.inference_mode()
def test_images_join_in_half_precision_where_the_vision_states_are_read_without_keys(num_beams):
    captioner = wild_captioner("vit-bert-tiny", image_size=96)
    states = captioner.encode(noise_images(8, side=96))
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=16)
    task = plan_search(captioner, [str(n) for n in range(8)], config=config)
    backend = fast_text(captioner, torch.float16)
    found, joined = _in_turns(backend, states, task)
    assert joined
    expected = _alone(backend, states, task)
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]


@torch.inference_mode()
def test_a_text_side_of_transformers_takes_images_only_when_none_are_running(blip):
    captioner, states = blip
    task = plan_search(captioner, ["a", "b"], config=SETTINGS["greedy"])
    running = RunningSearch(captioner, task)
    assert running.may_replace
    running.add(["a", "b"], states[:2])
    assert running.num_running
    assert not running.may_replace
    found, joined = _in_turns(captioner, states[:6], replace(task, image_ids=tuple("abcdef")))
    assert joined == 0
    assert [one.token_ids for one in found] == [
        one.token_ids
        for one in _alone(captioner, states[:6], replace(task, image_ids=tuple("abcdef")))
    ]


@torch.inference_mode()
def test_rows_that_nothing_will_take_can_be_dropped(blip):
    captioner, states = blip
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["greedy"])
    backend = fast_text(captioner, torch.float32)
    running = RunningSearch(backend, task)
    found = dict(running.add(task.image_ids, states))
    sizes = set()
    while running.num_running:
        running.drop_free_rows()
        sizes.add(running.num_running + running.num_free)
        found |= dict(running.step())
    assert len(sizes) > 1
    expected = [one.token_ids for one in _alone(backend, states, task)]
    assert [found[number].token_ids for number in range(12)] == expected
