"""Decoding in replayed steps gives the captions of `RunningSearch`, on a CPU that pretends."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from captune.inference.decoding.decode import plan_search
from captune.inference.decoding.replayed.search import FIRST_TOKENS, ReplayedSearch
from captune.inference.decoding.running import RunningSearch
from captune.models import fast_text
from captune.recipe import GenerateConfig
from support.cpu_graphs import CpuRecorder
from support.models.wild_models import noise_images, wild_captioner

SETTINGS = {
    "greedy": GenerateConfig(num_beams=1, max_new_tokens=18),
    "beams": GenerateConfig(num_beams=3, max_new_tokens=18, length_penalty=0.7),
    "beams that stop early": GenerateConfig(num_beams=4, max_new_tokens=12, early_stopping=True),
    "samples": GenerateConfig(
        num_beams=1, max_new_tokens=18, do_sample=True, temperature=1.5, top_k=9, top_p=0.9, seed=5
    ),
    "a prompt and penalties": GenerateConfig(
        num_beams=2,
        max_new_tokens=9,
        prompt="the red dog",
        repetition_penalty=1.3,
        no_repeat_ngram_size=2,
        min_new_tokens=2,
    ),
    "no word twice": GenerateConfig(num_beams=1, max_new_tokens=9, no_repeat_ngram_size=1),
    "three words twice": GenerateConfig(num_beams=1, max_new_tokens=30, no_repeat_ngram_size=3),
    "the shortest": GenerateConfig(
        num_beams=3, max_new_tokens=14, min_new_tokens=9, length_penalty=-10.0
    ),
    "one token": GenerateConfig(num_beams=2, max_new_tokens=1),
}


def some(*fast: str) -> list:
    """Return all settings as parameters; others than these are for the slow tier."""
    slow = pytest.mark.slow
    return [
        pytest.param(config, id=name, marks=() if name in fast else slow)
        for name, config in SETTINGS.items()
    ]


def finish(running, found):
    while running.num_running:
        running.drop_free_rows()
        found |= dict(running.step())
    return found


def all_at_once(running, states, task):
    found = finish(running, dict(running.add(task.image_ids, states)))
    return [found[number] for number in range(len(states))]


def check_equal(found, expected):
    assert [one.token_ids for one in found] == [one.token_ids for one in expected]
    logprobs = [one.logprob_sum for one in expected]
    assert [one.logprob_sum for one in found] == pytest.approx(logprobs, abs=1e-3)


@pytest.mark.parametrize("config", some("greedy", "beams", "a prompt and penalties"))
@torch.inference_mode()
def test_captions_of_replayed_steps_are_those_of_steps_that_run_as_usual(family, config):
    captioner, _, states = family
    task = plan_search(captioner, [str(n) for n in range(len(states))], config=config)
    if config.num_beams == 1 and not config.do_sample:
        task = replace(task, suppressed_ids=(captioner.tokenizer("grass").input_ids[0],))
    backend, recorder = fast_text(captioner, torch.float32), CpuRecorder()
    expected = all_at_once(RunningSearch(backend, task), states, task)
    search = ReplayedSearch(backend, task, recorder=recorder)
    check_equal(all_at_once(search, states, task), expected)
    if config.max_new_tokens > 1:
        assert recorder.num_recorded == 1
        assert recorder.num_replays > 0


@pytest.mark.parametrize("config", some("beams"))
@torch.inference_mode()
def test_images_that_join_replayed_steps_get_their_own_captions(family, config):
    captioner, _, states = family
    task = plan_search(captioner, [str(n) for n in range(len(states))], config=config)
    backend = fast_text(captioner, torch.float32)
    expected = [
        all_at_once(RunningSearch(backend, one), states[number, None], one)[0]
        for number, one in enumerate(
            replace(task, image_ids=(image_id,)) for image_id in task.image_ids
        )
    ]
    recorder = CpuRecorder()
    search = ReplayedSearch(backend, task, recorder=recorder)
    # Three start; the others join two at a time after three steps each: rows are added.
    found = dict(search.add(task.image_ids[:3], states[:3]))
    for start in range(3, len(states), 2):
        for _ in range(3):
            found |= dict(search.step()) if search.num_running else {}
        now = slice(start, start + 2)
        found |= dict(search.add(task.image_ids[now], states[now]))
    finish(search, found)
    check_equal([found[number] for number in range(len(states))], expected)


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.inference_mode()
def test_captions_longer_than_the_first_places_get_more(num_beams):
    captioner = wild_captioner("vit-gpt2-tiny")
    states = captioner.encode(noise_images(3))
    most = 2 * FIRST_TOKENS + 3
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=most, min_new_tokens=most)
    task = plan_search(captioner, list("abc"), config=config)
    assert task.max_new_tokens > FIRST_TOKENS
    backend, recorder = fast_text(captioner, torch.float32), CpuRecorder()
    expected = all_at_once(RunningSearch(backend, task), states, task)
    found = all_at_once(ReplayedSearch(backend, task, recorder=recorder), states, task)
    check_equal(found, expected)
    assert recorder.num_recorded > 1


@torch.inference_mode()
def test_the_host_reads_a_step_while_the_device_computes_the_next_one(blip):
    captioner, states = blip
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["greedy"])
    backend = fast_text(captioner, torch.float32)
    lengths = [
        len(one.token_ids) for one in all_at_once(RunningSearch(backend, task), states, task)
    ]
    most = task.max_new_tokens
    short = [number for number, length in enumerate(lengths) if length < most]
    assert 0 < len(short) < len(lengths)
    for chosen, is_limited in ((short, False), (range(len(lengths)), True)):
        recorder, steps = CpuRecorder(), 0
        search = ReplayedSearch(backend, task, recorder=recorder)
        search.add([task.image_ids[number] for number in chosen], states[list(chosen)])
        while search.num_running:
            search.step()
            steps += 1
        if is_limited:
            # The longest caption has ended after the last step, which alone was waited for.
            assert recorder.lags == [1] * (most - 2) + [0]
        else:
            # The end is seen one step later.
            assert steps == max(lengths[number] for number in chosen)
            assert recorder.lags == [1] * (steps - 1)


@torch.inference_mode()
def test_a_second_batch_replays_the_steps_of_the_first(blip):
    captioner, states = blip
    backend, recorder = fast_text(captioner, torch.float32), CpuRecorder()
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["beams"])
    expected = all_at_once(RunningSearch(backend, task), states, task)
    first = all_at_once(ReplayedSearch(backend, task, recorder=recorder), states, task)
    warm_ups = recorder.num_warm_ups
    # Another order: what is left of the first batch must not be seen.
    second = replace(task, image_ids=task.image_ids[::-1][:9])
    states = states.flip(0)[:9]
    found = all_at_once(ReplayedSearch(backend, second, recorder=recorder), states, second)
    check_equal(first, expected)
    check_equal(found, expected[::-1][:9])
    assert (recorder.num_recorded, recorder.num_warm_ups) == (1, warm_ups)


@torch.inference_mode()
def test_other_settings_are_not_decoded_with_recorded_ones(blip):
    captioner, states = blip
    backend, recorder = fast_text(captioner, torch.float32), CpuRecorder()
    for number, name in enumerate(("beams", "beams that stop early", "greedy"), start=1):
        task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS[name])
        expected = all_at_once(RunningSearch(backend, task), states, task)
        found = all_at_once(ReplayedSearch(backend, task, recorder=recorder), states, task)
        check_equal(found, expected)
        assert recorder.num_recorded == number


@torch.inference_mode()
def test_the_tokens_of_a_running_image_are_the_beginning_of_its_replayed_caption(blip):
    captioner, states = blip
    for name, is_known in (("greedy", True), ("samples", True), ("beams", False)):
        task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS[name])
        backend = fast_text(captioner, torch.float32)
        search = ReplayedSearch(backend, task, recorder=CpuRecorder())
        found, seen = dict(search.add(task.image_ids, states)), {}
        while search.num_running:
            for number in set(range(12)) - set(found):
                seen.setdefault(number, []).append(search.tokens_so_far(number))
            found |= dict(search.step())
        for number, parts in seen.items():
            whole = found[number].token_ids
            words = whole[:-1] if whole[-1] == task.eos_token_id else whole
            # What has been seen is one step old.
            expected = [words[:n] if is_known and n > 1 else () for n in range(len(parts))]
            assert parts == expected


@pytest.mark.parametrize("num_beams", [1, 3])
@torch.inference_mode()
def test_dropped_images_leave_the_captions_of_the_others_and_free_rows(blip, num_beams):
    captioner, states = blip
    most = FIRST_TOKENS + 8
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=most, min_new_tokens=most)
    task = plan_search(captioner, list("abcdefghijkl"), config=config)
    backend = fast_text(captioner, torch.float32)
    expected = all_at_once(RunningSearch(backend, task), states, task)
    search = ReplayedSearch(backend, task, recorder=CpuRecorder())
    found = dict(search.add(task.image_ids[:4], states[:4]))
    for number in (0, 2):
        found |= dict(search.step())
        search.drop(number)
    assert (search.num_running, search.num_free) == (2, 2)
    for _ in range(FIRST_TOKENS - 4):
        found |= dict(search.step())
    # These take the rows; the dropped ones did not continue past their places.
    found |= dict(search.add(task.image_ids[4:6], states[4:6]))
    finish(search, found)
    assert sorted(found) == [1, 3, 4, 5]
    check_equal([found[number] for number in (1, 3, 4, 5)], [expected[n] for n in (1, 3, 4, 5)])
    search.add(task.image_ids[:1], states[:1])
    search.drop(6)
    assert search.num_running == 0


@torch.inference_mode()
def test_kept_rows_end_with_the_model(blip):
    captioner, states = blip
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["greedy"])
    backend = fast_text(captioner, torch.float32)
    search = ReplayedSearch(backend, task, recorder=CpuRecorder())
    all_at_once(search, states, task)
    again = ReplayedSearch(backend, task, recorder=CpuRecorder())
    again.add(task.image_ids, states)
    rows, text = weakref.ref(again._rows), weakref.ref(backend)
    finish(again, {})
    gc.collect()
    assert rows() is not None
    gc.disable()
    try:
        # Without the garbage collector: memory of a device must not wait for it.
        del search, again, backend
        assert text() is None
        assert rows() is None
    finally:
        gc.enable()


class _Refusing(CpuRecorder):
    def __init__(self, error):
        super().__init__()
        self._error = error

    def record(self, work):
        raise self._error


@torch.inference_mode()
def test_a_device_that_refuses_to_record_decodes_without_and_warns_once(blip):
    captioner, states = blip
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["greedy"])
    backend = fast_text(captioner, torch.float32)
    expected = all_at_once(RunningSearch(backend, task), states, task)
    search = ReplayedSearch(
        backend, task, recorder=_Refusing(RuntimeError("operation not permitted\nat line 3"))
    )
    with pytest.warns(UserWarning, match="operation not permitted") as caught:
        found = all_at_once(search, states, task)
    assert len(caught) == 1
    assert "line 3" not in str(caught[0].message)
    check_equal(found, expected)


@torch.inference_mode()
def test_a_lack_of_memory_while_recording_is_not_a_refusal(blip):
    captioner, states = blip
    task = plan_search(captioner, list("abcdefghijkl"), config=SETTINGS["greedy"])
    recorder = _Refusing(torch.OutOfMemoryError("CUDA out of memory"))
    search = ReplayedSearch(fast_text(captioner, torch.float32), task, recorder=recorder)
    search.add(task.image_ids, states)
    with pytest.raises(torch.OutOfMemoryError):
        finish(search, {})
