"""A training whose loss is not a number ends at that step, with the setting to change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from captune.errors import ModelError
from captune.models import Captioner
from captune.training import train
from captune.training.batches.feeding import REHEARSED
from captune.training.steps.divergence import refuse_divergence


class Scaler:
    """A loss scale, as `torch.amp.GradScaler` reports it."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_training_that_diverges_ends_with_the_learning_rate(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(train__engine=engine)
    captioner = make_captioner(recipe)
    break_after(captioner, passes=2)
    with pytest.raises(ModelError, match="diverged: the loss of step 2 is nan") as caught:
        train(
            *(captioner, shapes),
            recipe=recipe,
            run_folder=tmp_path / "run",
            say=lambda _: None,
        )
    assert caught.value.where == "train.learning_rate 0.001"
    assert "lower train.learning_rate" in caught.value.fix


def break_after(captioner: Captioner, *, passes: int) -> None:
    """Let all losses be NaN after some training passes, as after an update that is too large."""
    real, count = captioner.loss, 0

    def loss(batch: Any, *others: Any) -> Any:
        nonlocal count
        is_counted = captioner.model.training and REHEARSED not in batch.image_ids
        count += is_counted
        found = real(batch, *others)
        return replace(found, loss_sum=found.loss_sum * math.nan) if count > passes else found

    captioner.loss = loss  # type: ignore[method-assign]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_fp16_may_skip_steps_until_its_scale_has_no_effect(make_recipe, loss) -> None:
    train = make_recipe().train
    refuse_divergence(loss, step=3, train=train, scaler=Scaler(2.0))
    with pytest.raises(ModelError, match=f"the loss of step 4 is {loss:g}") as caught:
        refuse_divergence(loss, step=3, train=train, scaler=Scaler(0.5))
    assert "train.precision" in caught.value.fix


def test_a_large_loss_is_no_divergence(make_recipe) -> None:
    refuse_divergence(1e38, step=0, train=make_recipe().train)
