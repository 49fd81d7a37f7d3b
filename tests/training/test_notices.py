"""Notices of a run about its processes, and about settings that look like mistakes."""

from __future__ import annotations

import pytest

from captune.recipe import TrainConfig, load_recipe
from captune.training.notices import (
    describe_shares,
    explain_precision,
    find_doubts,
    warn_of_few_steps,
)


def test_the_choice_of_fp16_is_printed_unless_the_recipe_made_it() -> None:
    (line,) = explain_precision("auto", "fp16")
    assert "train.precision: auto is fp16 with loss scaling" in line
    assert explain_precision("fp16", "fp16") == explain_precision("auto", "bf16") == ()


def test_one_process_reports_no_shares() -> None:
    assert describe_shares(8, 1, global_batch_size=8) == ()


def test_shares_are_listed_by_rank() -> None:
    assert describe_shares(8, 3, global_batch_size=8) == (
        "processes: 3 share the 8 images of a step: 3, 3, 2",
    )


def test_idle_ranks_are_named_with_the_setting() -> None:
    _, warning = describe_shares(2, 5, global_batch_size=2)
    assert warning == (
        "warning: ranks 2 to 4 have no image in any step (train.global_batch_size 2); start at most"
        " 2 processes, or set train.global_batch_size to 5 or more"
    )
    _, warning = describe_shares(2, 3, global_batch_size=8)
    assert "rank 2 has no image" in warning
    assert "the training set has no more images" in warning


@pytest.mark.parametrize(
    ("settings", "steps", "named"),
    [
        ({"warmup_steps": 300}, 55, "train.warmup_steps 300 is not shorter than the run of 55"),
        ({"warmup_fraction": 1.0}, 55, "train.warmup_fraction 1 warms up for the whole run"),
        ({"learning_rate": 50.0}, 55, "train.learning_rate is 50"),
        ({"vision_lr_scale": 1e5}, 55, "train.learning_rate times train.vision_lr_scale is 5"),
        ({"weight_decay": 1e5}, 55, "weight decay 100000"),
    ],
)
def test_settings_that_look_like_mistakes_raise_a_warning(
    settings: dict[str, float], steps: int, named: str
) -> None:
    (warning,) = find_doubts(TrainConfig(**settings), steps)
    assert warning.startswith("warning: ")
    assert named in warning


@pytest.mark.parametrize("settings", [{}, {"warmup_steps": 54}, {"learning_rate": 0.1}])
def test_usual_settings_raise_no_warning(settings: dict[str, float]) -> None:
    assert find_doubts(TrainConfig(**settings), 55) == []


def test_few_steps_of_a_new_model_raise_a_warning_with_the_epochs_to_set() -> None:
    (warning,) = warn_of_few_steps(load_recipe("demo"), 36)
    assert warning.startswith("warning: 36 steps are few for a model that starts from random")
    assert warning.endswith("--set train.epochs=250 gives about 1,000 steps")
    (warning,) = warn_of_few_steps(load_recipe("demo"), 1)
    assert warning.startswith("warning: 1 step is few for a model")
    assert warn_of_few_steps(load_recipe("demo"), 500) == []


def test_few_steps_from_a_checkpoint_raise_no_warning() -> None:
    assert warn_of_few_steps(load_recipe("flickr8k-blip"), 36) == []
