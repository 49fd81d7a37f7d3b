"""The plan of an epoch covers every image once, pads little, and depends on seed and epoch only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captune.training.batches.planning import (
    StepPlan,
    apply_view,
    choose_captions,
    choose_view,
    count_shares,
    plan_epoch,
    take_share,
)


def indices(plans) -> list[int]:
    return [i for plan in plans for micro in plan.micro_batches for i in micro]


@given(
    count=st.integers(0, 200),
    micro=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_every_image_is_planned_exactly_once(count, micro, accumulation, epoch) -> None:
    lengths = [5 + i % 17 for i in range(count)]
    plans = plan_epoch(
        lengths,
        epoch,
        seed=1,
        micro_batch_size=micro,
        global_batch_size=micro * accumulation,
    )
    assert sorted(indices(plans)) == list(range(count))
    assert len(plans) == math.ceil(math.ceil(count / micro) / accumulation)
    for plan in plans[:-1]:
        assert plan.num_images == micro * accumulation


def test_the_plan_is_the_same_for_the_same_seed_and_new_for_each_epoch() -> None:
    def plan(epoch: int, seed: int = 4):
        return plan_epoch(
            list(range(100)), epoch, seed=seed, micro_batch_size=4, global_batch_size=8
        )

    assert plan(2) == plan(2)
    assert indices(plan(1)) != indices(plan(2))
    assert indices(plan(1, seed=5)) != indices(plan(1, seed=4))


def test_similar_lengths_share_batches_so_padding_stays_under_ten_per_cent() -> None:
    rng = np.random.default_rng(0)
    # Five captions of about 12 +- 4 tokens per image, as in Flickr8k.
    lengths = rng.normal(12, 4, (3000, 5)).clip(5, 40).astype(int).sum(axis=1)
    plans = plan_epoch(lengths.tolist(), 0, seed=0, micro_batch_size=32, global_batch_size=32)
    padded = sum(
        max(lengths[i] for i in micro) * len(micro)
        for plan in plans
        for micro in plan.micro_batches
    )
    assert 1 - lengths.sum() / padded < 0.10
    random = rng.permutation(lengths)[: 93 * 32].reshape(-1, 32)
    assert 1 - random.sum() / (random.max(axis=1) * 32).sum() > 0.2  # without the plan


def test_steps_mix_lengths_over_the_epoch() -> None:
    lengths = list(range(640))
    plans = plan_epoch(lengths, 0, seed=0, micro_batch_size=4, global_batch_size=16)
    means = [np.mean([i for micro in plan.micro_batches for i in micro]) for plan in plans]
    assert np.corrcoef(means, range(len(means)))[0, 1] < 0.5


def test_views_and_caption_choices_depend_on_the_key_only() -> None:
    views = ("original", "flip", "crop")
    drawn = [choose_view(views, i, seed=1, epoch=0) for i in range(300)]
    assert drawn == [choose_view(views, i, seed=1, epoch=0) for i in range(300)]
    assert {drawn.count(v) > 60 for v in range(3)} == {True}
    assert choose_view(("original",), 7, seed=1, epoch=3) == 0
    chosen = choose_captions(5, 11, max_captions=2, key=(1, 0))
    assert len(chosen) == 2
    assert chosen == choose_captions(5, 11, max_captions=2, key=(1, 0))
    assert choose_captions(5, 11, max_captions=None, key=(1, 0)) == [0, 1, 2, 3, 4]
    assert choose_captions(2, 11, max_captions=3, key=(1, 0)) == [0, 1]


def test_flip_mirrors_and_crop_keeps_four_fifths_of_a_side() -> None:
    pixels = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3)
    image = Image.fromarray(pixels)
    assert np.array_equal(np.asarray(apply_view(image, "flip", key="a")), pixels[:, ::-1])
    crop = apply_view(image, "crop", key="a")
    assert crop.size == (32, 24)
    assert np.array_equal(np.asarray(crop), np.asarray(apply_view(image, "crop", key="a")))
    others = {apply_view(image, "crop", key=str(i)).tobytes() for i in range(20)}
    assert len(others) > 10
    assert apply_view(image, "original", key="a") is image
    assert apply_view(image, "flip_crop", key="a").size == (32, 24)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2)])
def test_tiny_images_can_be_cropped(size) -> None:
    crop = apply_view(Image.new("RGB", size), "crop", key="x")
    assert min(crop.size) >= 1


@pytest.mark.parametrize(("num_images", "num_processes"), [(8, 3), (8, 1), (5, 4), (2, 5), (32, 7)])
def test_shares_of_a_step_differ_by_one_image_and_contain_each_once(
    num_images: int, num_processes: int
) -> None:
    lengths = [10 + 7 * index % 13 for index in range(num_images)]
    plan = StepPlan(0, (tuple(range(num_images)),))
    shares = [
        take_share(plan, lengths, rank=rank, num_processes=num_processes, micro_batch_size=4)
        for rank in range(num_processes)
    ]
    images = [index for share in shares for micro in share.micro_batches for index in micro]
    assert sorted(images) == list(range(num_images))
    assert [share.num_images for share in shares] == count_shares(num_images, num_processes)
    assert max(share.num_images for share in shares) - shares[-1].num_images <= 1
    if num_processes > 1:
        assert all(len(micro) <= 4 for share in shares for micro in share.micro_batches)


def test_each_process_gets_rows_of_all_lengths() -> None:
    plan = StepPlan(0, ((0, 1, 2, 3, 4, 5),))
    shares = [
        take_share(plan, [60, 50, 40, 30, 20, 10], rank=rank, num_processes=2, micro_batch_size=6)
        for rank in range(2)
    ]
    assert [share.micro_batches for share in shares] == [((5, 3, 1),), ((4, 2, 0),)]
