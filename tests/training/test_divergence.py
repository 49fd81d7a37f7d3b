"""A training whose loss is not a number ends at that step, with the setting to change."""

from __future__ import annotations

import math

import pytest

from captune.errors import ModelError
from captune.training import train
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
    recipe = make_recipe(
        train__engine=engine, train__learning_rate=1e30, train__warmup_steps=0, train__epochs=20
    )
    with pytest.raises(ModelError, match="the training has diverged: the loss of step") as caught:
        train(
            *(make_captioner(recipe), shapes),
            recipe=recipe,
            run_folder=tmp_path / "run",
            say=lambda _: None,
        )
    assert caught.value.where == "train.learning_rate 1e+30"
    assert "lower train.learning_rate" in caught.value.fix


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_fp16_may_skip_steps_until_its_scale_has_no_effect(make_recipe, loss) -> None:
    train = make_recipe().train
    refuse_divergence(loss, step=3, train=train, scaler=Scaler(2.0))
    with pytest.raises(ModelError, match=f"the loss of step 4 is {loss:g}") as caught:
        refuse_divergence(loss, step=3, train=train, scaler=Scaler(0.5))
    assert "train.precision" in caught.value.fix


def test_a_large_loss_is_no_divergence(make_recipe) -> None:
    refuse_divergence(1e38, step=0, train=make_recipe().train)
