"""Settings of launchers that are refused, and ones that must not change a training."""

from __future__ import annotations

import json
from typing import Any

import pytest
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType

from captune.errors import RecipeError
from captune.training import CaptionTrainer, check_engine, train
from captune.training.launchers import refuse_distributed_type
from support.runs.trainer_script import arguments, history

REQUESTS = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}


@pytest.fixture
def fresh_accelerate() -> Any:
    """Make accelerate forget what it has read from the environment, before and after a test."""
    forget()
    yield
    forget()


def forget() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize("variable", REQUESTS)
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_launcher_that_splits_the_model_is_refused_before_any_work(
    tmp_path, shapes, *, make_recipe, make_captioner, monkeypatch, variable, engine
) -> None:
    monkeypatch.setenv(variable, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    recipe = make_recipe(train__engine=engine)
    for work in (
        lambda: check_engine(recipe.train),
        lambda: train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path / "run"),
    ):
        with pytest.raises(RecipeError, match=f"{REQUESTS[variable]} splits a model") as error:
            work()
        assert variable in error.value.where
        assert "torchrun" in error.value.fix
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variable", REQUESTS)
def test_a_script_under_a_launcher_that_splits_the_model_is_refused(
    tmp_path, shapes, build, monkeypatch, variable
) -> None:
    args = arguments(tmp_path)
    monkeypatch.setenv(variable, "true")
    with pytest.raises(RecipeError, match=f"{REQUESTS[variable]} splits a model"):
        CaptionTrainer(build(), args, train_dataset=shapes[0])


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("fsdp", "full_shard", "FSDP"),
        ("fsdp_plugin_args", {"fsdp_version": 2}, "FSDP"),
        ("deepspeed", {"zero_optimization": {"stage": 2}}, "DeepSpeed"),
        ("parallelism_config", object(), "a parallelism config"),
    ],
)
def test_arguments_that_split_the_model_are_refused(
    tmp_path, shapes, build, name, value, kind
) -> None:
    args = arguments(tmp_path)
    setattr(args, name, value)
    with pytest.raises(RecipeError, match=f"{kind} splits a model") as error:
        CaptionTrainer(build(), args, train_dataset=shapes[0])
    assert error.value.where == f"args.{name}"


def test_processes_set_up_to_split_a_model_are_refused() -> None:
    for kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        with pytest.raises(RecipeError, match="splits a model"):
            refuse_distributed_type(kind)
    for kind in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        refuse_distributed_type(kind)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"), ("ACCELERATE_MIXED_PRECISION", "bf16")],
)
@pytest.mark.slow
def test_variables_of_accelerate_change_no_gradient(
    tmp_path, shapes, *, make_recipe, build, monkeypatch, fresh_accelerate, engine, variable, value
) -> None:
    recipe = make_recipe(train__engine=engine, train__max_steps=2)

    def curve(name: str) -> list[tuple[float, float]]:
        forget()
        train(build(), shapes, recipe=recipe, run_folder=tmp_path / name, say=lambda _: None)
        lines = (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["loss"], row["grad_norm"]) for row in rows if "loss" in row]

    plain = curve("plain")
    monkeypatch.setenv(variable, value)
    assert len(plain) == 2
    assert curve("with-variable") == plain


def test_the_launchers_accumulation_changes_no_gradient_of_a_script(
    tmp_path, shapes, build, monkeypatch, fresh_accelerate
) -> None:
    def norms() -> list[float]:
        forget()
        trainer = CaptionTrainer(build(), arguments(tmp_path), train_dataset=shapes[0])
        trainer.train()
        return history(trainer, "grad_norm")

    plain = norms()
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert norms() == plain
