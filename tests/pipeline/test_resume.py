"""Settings with which an interrupted training may resume, and those that forbid it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from captune.errors import ModelError, OutputError
from captune.pipeline import RunOptions, run
from captune.pipeline.resume import check_resumed, note_inputs
from captune.recipe import ModelConfig, Recipe
from support.runs.recipes import recipe as tiny_recipe


def recipe(**overrides: object) -> Recipe:
    """Two steps of eight images."""
    short = {
        "data__path": "shapes:20",
        "train__max_steps": 2,
        "train__micro_batch_size": 4,
        "train__global_batch_size": 8,
        "train__best_metric": "loss",
    }
    return tiny_recipe(**{**short, **overrides})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return run(recipe(), only=["prepare", "train"], out=folder, say=lambda _: None)


@pytest.fixture
def interrupted(trained: Path, tmp_path: Path) -> Path:
    """A training that was killed before it was recorded as finished."""
    folder = shutil.copytree(trained, tmp_path / "run")
    stages = json.loads((folder / "stages.json").read_text())
    del stages["train"]
    (folder / "stages.json").write_text(json.dumps(stages))
    return folder


def resume(folder: Path, settings: Recipe) -> list[str]:
    """Resume a training and return the printed lines."""
    lines: list[str] = []
    options = RunOptions(resume=True)
    run(settings, only=["prepare", "train"], out=folder, options=options, say=lines.append)
    return lines


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"data__path": "shapes:30"}, "images of train and val"),
        ({"data__max_captions": 2}, "data.max_captions null -> 2"),
        ({"model__size": "git-tiny"}, "model.size blip-tiny -> git-tiny"),
        ({"train__global_batch_size": 4}, "train.global_batch_size 8 -> 4"),
    ],
)
def test_a_training_does_not_resume_with_other_data_model_or_batches(
    interrupted: Path, overrides: dict[str, object], expected: str
) -> None:
    weights = (interrupted / "model" / "model.safetensors").read_bytes()
    with pytest.raises(OutputError) as error:
        resume(interrupted, recipe(**overrides))
    assert expected in error.value.what
    assert "--force" in error.value.fix
    assert (interrupted / "model" / "model.safetensors").read_bytes() == weights
    assert any(line.startswith("resumed at step 2") for line in resume(interrupted, recipe()))


@pytest.mark.parametrize("options", [RunOptions(), RunOptions(resume=True)])
def test_a_refused_run_leaves_the_folder_as_it_was(interrupted: Path, options: RunOptions) -> None:
    files = {p: p.read_bytes() for p in interrupted.rglob("*") if p.is_file()}
    with pytest.raises(OutputError, match="interrupted"):
        run(recipe(model__size="git-tiny"), out=interrupted, options=options, say=lambda _: None)
    assert {p: p.read_bytes() for p in interrupted.rglob("*") if p.is_file()} == files


def test_a_changed_setting_that_may_change_raises_a_warning(interrupted: Path) -> None:
    lines = resume(interrupted, recipe(train__learning_rate=1e-3, train__micro_batch_size=2))
    (warning,) = [line for line in lines if line.startswith("warning: the training resumes")]
    assert "train.learning_rate 5e-05 -> 0.001" in warning
    assert "train.micro_batch_size 4 -> 2" in warning
    assert any(line.startswith("resumed at step 2") for line in lines)


def test_a_setting_that_changes_no_result_raises_no_warning(interrupted: Path) -> None:
    lines = resume(interrupted, recipe(train__log_every=1, train__gradient_checkpointing=True))
    assert not any("warning" in line for line in lines)


def test_a_training_of_an_older_version_resumes_without_saved_inputs(interrupted: Path) -> None:
    (interrupted / "checkpoints" / "began_with.json").unlink()
    assert any(line.startswith("resumed at step 2") for line in resume(interrupted, recipe()))


def test_a_model_folder_that_was_moved_is_the_same_model(interrupted: Path) -> None:
    began, moved, other = (
        recipe().model_copy(update={"model": ModelConfig(checkpoint=place)})
        for place in ("/old/disk/blip", "/new/disk/blip", "/new/disk/git")
    )
    note_inputs(began, interrupted)
    assert check_resumed(moved, interrupted) == []
    with pytest.raises(OutputError, match=r"model\.checkpoint blip -> git"):
        check_resumed(other, interrupted)


BY_TRAINER = recipe(train__engine="trainer", train__save_every=1, train__ema_decay=0.5)


@pytest.fixture(scope="module")
def half_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with the trainer engine, stopped after one of two steps."""
    folder = tmp_path_factory.mktemp("trainer")
    run(BY_TRAINER, only=["prepare", "train"], out=folder, say=lambda _: None)
    shutil.rmtree(folder / "checkpoints" / "step-000002")
    stages = json.loads((folder / "stages.json").read_text())
    del stages["train"]
    (folder / "stages.json").write_text(json.dumps(stages))
    return folder


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json", "average.pt"],
)
def test_a_truncated_file_in_a_checkpoint_of_the_trainer_engine_is_named(
    half_trained: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(half_trained, tmp_path / "run")
    (checkpoint,) = (folder / "checkpoints").glob("step-*")
    content = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(content[: len(content) // 2])
    with pytest.raises((OutputError, ModelError), match=r"cannot be read|are damaged") as error:
        resume(folder, BY_TRAINER)
    assert str(checkpoint) in str(error.value)
