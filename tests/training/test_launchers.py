"""Settings of launchers that are refused, and ones that must not change a training."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType

from captune.errors import RecipeError
from captune.hardware import Hardware
from captune.training import (
    CaptionTrainer,
    ProcessError,
    Team,
    check_engine,
    refuse_unlike_processes,
    train,
)
from captune.training.launchers import refuse_distributed_type, refuse_shared_devices
from support.runs.threads import run_together
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
@pytest.mark.slow
def test_variables_of_accelerate_change_no_gradient(
    tmp_path, shapes, *, make_recipe, build, monkeypatch, fresh_accelerate, engine
) -> None:
    recipe = make_recipe(train__engine=engine, train__max_steps=2)

    def curve(name: str) -> list[tuple[float, float]]:
        forget()
        train(build(), shapes, recipe=recipe, run_folder=tmp_path / name, say=lambda _: None)
        lines = (tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [(row["loss"], row["grad_norm"]) for row in rows if "loss" in row]

    plain = curve("plain")
    assert len(plain) == 2
    for variable, value in (
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_DYNAMO_BACKEND", "inductor"),
    ):
        with monkeypatch.context() as changed:
            changed.setenv(variable, value)
            assert curve(variable) == plain, variable


@pytest.mark.slow
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


def test_a_script_is_not_compiled_which_would_hide_the_wrapper_of_several_processes(
    tmp_path, shapes, build, *, monkeypatch, fresh_accelerate, caplog
) -> None:
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
    trainer = CaptionTrainer(build(), arguments(tmp_path, max_steps=1), train_dataset=shapes[0])
    assert "torch.compile is not used" in caplog.text
    trainer.train()
    assert trainer.model_wrapped is trainer.model


def unlike(*devices: tuple[str, str]) -> list[str]:
    """Return the errors of processes with these kinds of device and precisions."""

    def work(team: Team) -> str:
        kind, precision = devices[team.rank]
        try:
            with team.failing_together():
                refuse_unlike_processes(team, Hardware(torch.device(kind), precision, "chip", 0))
        except (RecipeError, ProcessError) as error:
            return str(error)
        return ""

    return run_together(work, size=len(devices))


def test_processes_with_one_kind_of_device_and_precision_train() -> None:
    assert unlike(("cuda", "bf16"), ("cuda", "bf16")) == ["", ""]


def test_processes_that_chose_other_precisions_are_named() -> None:
    leader, second, third = unlike(("cuda", "bf16"), ("cuda", "fp16"), ("cuda", "bf16"))
    assert "in different precisions: bf16 (rank 0, 2), fp16 (rank 1)" in leader
    assert "train.precision" in leader
    assert "fp32" in leader
    assert "process 0 of the run stopped" in second
    assert "process 0 of the run stopped" in third


def test_processes_on_other_kinds_of_devices_are_named() -> None:
    leader, _ = unlike(("cuda", "fp32"), ("cpu", "fp32"))
    assert "on different kinds of devices: cuda (rank 0), cpu (rank 1)" in leader


@pytest.mark.parametrize(
    ("chips", "error"),
    [
        (("GPU-1", "GPU-2"), ""),
        # A driver without names.
        (("", ""), ""),
        (("GPU-1", "GPU-1"), "2 processes on"),
    ],
)
def test_processes_that_would_share_a_gpu_are_refused(
    chips: tuple[str, str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(uuid=chips[device.index]),
    )

    def work(team: Team) -> str:
        own = Hardware(torch.device("cuda", team.rank), "bf16", "chip", 0)
        try:
            with team.failing_together():
                refuse_shared_devices(team, own)
        except (RecipeError, ProcessError) as caught:
            return str(caught)
        return ""

    leader, other = run_together(work, size=2)
    assert error in leader
    assert bool(other) == bool(leader) == bool(error)
    if error:
        assert "start 1 process there (--nproc-per-node 1)" in leader
