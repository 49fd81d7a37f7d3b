"""Parameter groups, schedule and averaged weights equal values computed by hand."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from captune.errors import ModelError
from captune.recipe import TrainConfig
from captune.training import train
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


def test_linear_and_constant_schedules_follow_their_formulas() -> None:
    linear = TrainConfig(learning_rate=2.0, warmup_steps=0, schedule="linear")
    assert rates(linear, 4) == [2.0, 1.5, 1.0, 0.5]
    constant = TrainConfig(learning_rate=2.0, warmup_fraction=0.5, schedule="constant")
    assert rates(constant, 4) == [1.0, 2.0, 2.0, 2.0]


def test_vectors_get_no_weight_decay_and_vision_has_its_own_rate(
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


def test_averaged_weights_follow_the_formula_and_leave_the_model_unchanged(
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


def out_of_memory_in_call(monkeypatch: pytest.MonkeyPatch, *calls: int) -> list[int]:
    """Run out of memory in some calls of AdamW's function, which is called once per group."""
    module = sys.modules[torch.optim.Adam.__module__]
    real, seen = module.adam, []

    def adam(*args: object, **settings: object) -> None:
        seen.append(len(seen))
        if seen[-1] in calls:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(*args, **settings)

    monkeypatch.setattr(module, "adam", adam)
    return seen


def test_the_moments_exist_before_the_first_step_and_change_nothing(
    make_recipe, make_captioner
) -> None:
    recipe = make_recipe()
    captioner = make_captioner(recipe)
    before = {name: p.detach().clone() for name, p in captioner.named_trainable()}
    optimizer = make_optimizer(captioner, recipe.train)
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in weights} == {id(p) for p in optimizer.state}
    for moments in optimizer.state.values():
        assert all(float(moments[name].abs().sum()) == 0 for name in moments)
    for name, parameter in captioner.named_trainable():
        assert torch.equal(parameter, before[name]), name
        assert parameter.grad is None
    assert {group["lr"] for group in optimizer.param_groups} == {recipe.train.learning_rate}


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_running_out_of_memory_in_an_update_ends_the_run_and_updates_nothing_twice(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch, engine
) -> None:
    recipe = make_recipe(train__engine=engine)
    groups = len(make_optimizer(make_captioner(recipe), recipe.train).param_groups)
    assert groups > 1
    # After the allocation and one step, in the second group of the second step.
    seen = out_of_memory_in_call(monkeypatch, 2 * groups + 1)
    with pytest.raises(ModelError, match="during the update of the weights") as error:
        train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: 0)
    assert len(seen) == 2 * groups + 2
    assert "--resume" in error.value.fix


def test_moments_that_do_not_fit_are_an_error_before_the_first_step(
    make_recipe, make_captioner, monkeypatch
) -> None:
    recipe = make_recipe()
    out_of_memory_in_call(monkeypatch, 0)
    with pytest.raises(ModelError, match="two moments per weight do not fit"):
        make_optimizer(make_captioner(recipe), recipe.train)
