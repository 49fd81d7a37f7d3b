"""Groups, schedule and averaged weights, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from captune.recipe import TrainConfig
from captune.training.steps.optimizer import AveragedWeights, learning_rate, make_optimizer


def rates(train: TrainConfig, steps: int) -> list[float]:
    return [learning_rate(step, steps, train=train) for step in range(steps)]


def test_warm_up_rises_to_the_peak_and_cosine_falls_to_its_floor() -> None:
    train = TrainConfig(learning_rate=1.0, warmup_steps=4, min_lr_ratio=0.1)
    curve = rates(train, 104)
    assert curve[:4] == [0.25, 0.5, 0.75, 1.0]
    assert curve[4] == 1.0
    assert curve[54] == pytest.approx(0.1 + 0.9 * 0.5)
    assert curve[-1] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.99)))


def test_linear_and_constant_schedules() -> None:
    linear = TrainConfig(learning_rate=2.0, warmup_steps=0, schedule="linear")
    assert rates(linear, 4) == [2.0, 1.5, 1.0, 0.5]
    constant = TrainConfig(learning_rate=2.0, warmup_fraction=0.5, schedule="constant")
    assert rates(constant, 4) == [1.0, 2.0, 2.0, 2.0]


def test_vectors_take_no_weight_decay_and_vision_has_its_own_rate(
    make_recipe, make_captioner
) -> None:
    recipe = make_recipe(train__vision_lr_scale=0.1, train__vision_weight_decay=0.0)
    captioner = make_captioner(recipe)
    optimizer = make_optimizer(captioner, recipe.train)
    by_parameter = {id(p): g for g in optimizer.param_groups for p in g["params"]}
    named = dict(captioner.named_trainable())
    assert by_parameter.keys() == {id(p) for p in named.values()}
    for name, parameter in named.items():
        group = by_parameter[id(parameter)]
        vision = name.startswith("vision_model.")
        assert group["lr_scale"] == (0.1 if vision else 1.0)
        expected = 0.0 if vision or parameter.ndim < 2 else recipe.train.weight_decay
        assert group["weight_decay"] == expected, name


def test_averaged_weights_follow_the_formula_and_leave_the_model_as_it_was(
    make_recipe, make_captioner
) -> None:
    captioner = make_captioner(make_recipe())
    average = AveragedWeights(captioner, decay=0.5)
    name, parameter = next(iter(captioner.named_trainable()))
    start = parameter.detach().clone()
    expected = start.clone()
    for step in range(3):
        with torch.no_grad():
            parameter.add_(1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach()
    torch.testing.assert_close(average.weights[name], expected)
    own = parameter.detach().clone()
    with average.applied():
        torch.testing.assert_close(parameter.detach(), expected)
    assert torch.equal(parameter.detach(), own)
