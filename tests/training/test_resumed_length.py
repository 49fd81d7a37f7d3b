"""A training that resumes with more or fewer steps than it began with ends where it now should."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.training import TrainResult, train

Split = tuple[list[CaptionRecord], list[CaptionRecord]]


@pytest.fixture
def resume(
    tmp_path: Path,
    shapes: Split,
    make_recipe: Callable[..., Recipe],
    make_captioner: Callable[[Recipe], Captioner],
) -> Callable[..., TrainResult]:
    """Return a function that trains in one folder, resuming after the first call."""

    def run(engine: str, records: Split = shapes, **overrides: object) -> TrainResult:
        settings = {"train__engine": engine, "train__save_every": 1, "train__keep_checkpoints": 9}
        recipe = make_recipe(**settings, **overrides)
        return train(
            make_captioner(recipe),
            records,
            recipe=recipe,
            run_folder=tmp_path,
            resume=(tmp_path / "checkpoints").is_dir(),
            say=lambda _: None,
        )

    return run


def validated(folder: Path) -> list[int]:
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if "val_loss" in row]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_that_became_shorter_than_its_checkpoint_ends_there(
    tmp_path: Path, resume: Callable[..., TrainResult], engine: str, steps: int
) -> None:
    resume(engine, train__max_steps=3)
    shutil.rmtree(tmp_path / "checkpoints" / "step-000003")
    assert validated(tmp_path) == [3]
    result = resume(engine, train__max_steps=steps)
    assert result.steps == 2
    assert validated(tmp_path) == [2]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_a_finished_run_that_became_longer_is_trained_on(
    tmp_path: Path, resume: Callable[..., TrainResult], engine: str
) -> None:
    resume(engine, train__max_steps=2)
    assert resume(engine, train__max_steps=3).steps == 3
    assert validated(tmp_path) == [2, 3]


def test_a_checkpoint_of_longer_epochs_is_refused(
    shapes: Split, resume: Callable[..., TrainResult]
) -> None:
    resume("loop", train__max_steps=2)
    few = (shapes[0][:8], shapes[1])
    with pytest.raises(OutputError, match="belongs to other data or batches"):
        resume("loop", few, train__max_steps=9)
