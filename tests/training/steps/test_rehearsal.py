"""The largest micro batch is rehearsed before the first step, and changes no result."""

from __future__ import annotations

import pytest
import torch

from captune.training import train
from captune.training.batches.feeding import REHEARSED, Feed, tokenize_records
from captune.training.loop import make_stepper
from captune.training.setup import launched, start_run


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_the_first_pass_has_the_longest_rows_and_as_many_images_as_any(
    engine, tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(
        train__engine=engine,
        train__max_steps=3,
        train__micro_batch_size=3,
        train__global_batch_size=3,
    )
    captioner = make_captioner(recipe)
    seen: list[tuple[bool, torch.Size]] = []
    real = captioner.loss

    def loss(batch, *others):
        if captioner.model.training:
            seen.append((REHEARSED in batch.image_ids, batch.input_ids.shape))
        return real(batch, *others)

    captioner.loss = loss
    train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    assert [is_rehearsal for is_rehearsal, _ in seen] == [True, False, False, False]
    lengths = tokenize_records(captioner, shapes[0], recipe=recipe).row_lengths
    assert tuple(seen[0][1]) == (3, max(lengths))


@pytest.mark.parametrize("size", ["vit-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_a_rehearsal_changes_neither_weights_nor_statistics_nor_random_states(
    size, tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(model__size=size)
    captioner = make_captioner(recipe)
    with launched(recipe, tmp_path) as launch:
        start = start_run(
            captioner, shapes, recipe=recipe, run_folder=tmp_path, launch=launch, say=lambda _: None
        )
        stepper = make_stepper(start, launch)
        state = start.run_state.state
        before = {name: value.clone() for name, value in captioner.model.state_dict().items()}
        drawn = torch.get_rng_state()
        stepper.rehearse(start.feed.largest_batch(1), state)
        assert torch.equal(torch.get_rng_state(), drawn)
        for name, value in captioner.model.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert all(parameter.grad is None for parameter in captioner.model.parameters())
        for moments in stepper.optimizer.state.values():
            assert not moments["exp_avg"].any()
            assert moments["step"] == 0


@pytest.mark.slow
def test_too_little_memory_is_reported_before_the_first_step(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe()
    captioner = make_captioner(recipe)
    events: list[str] = []
    real = captioner.loss

    def loss(batch, *others):
        is_rehearsal = REHEARSED in batch.image_ids
        if captioner.model.training and not is_rehearsal:
            events.append("step")
        if is_rehearsal and len(batch.image_ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(batch, *others)

    captioner.loss = loss
    train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=events.append)
    halved = "out of memory: micro batches halved to 2 images"
    places = [place for place, event in enumerate(events) if event.startswith(halved)]
    assert len(places) == 1
    assert places[0] < events.index("step")


def test_a_rehearsal_uses_the_longest_captions_that_an_epoch_may_draw(
    shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(data__max_captions=2)
    captioner = make_captioner(recipe)
    data = tokenize_records(captioner, shapes[0], recipe=recipe)
    feed = Feed(captioner, data, recipe, ("original",))
    rehearsed = feed.largest_batch(1).input_ids.shape[1]
    steps = (step for epoch in range(3) for step in feed.batches(feed.plan(epoch)))
    assert rehearsed >= max(batch.input_ids.shape[1] for step in steps for batch in step)
