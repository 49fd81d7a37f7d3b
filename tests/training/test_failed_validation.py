"""A validation that fails costs no step: they are saved, and resuming repeats the validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captune.errors import ModelError
from captune.models import Captioner
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.training import train
from support.runs.same_weights import assert_same_weights, model_file

Split = tuple[list[CaptionRecord], list[CaptionRecord]]


def rows(folder: Path) -> list[dict]:
    """Return the log without times."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    kept = ("step", "loss", "val_loss", "val_cider", "grad_norm")
    return [{name: row[name] for name in kept if name in row} for row in lines]


def fail_validation(captioner: Captioner) -> None:
    """Let the loss of validation run out of memory, as on a device that is nearly full."""
    real = captioner.loss

    def loss(batch, *args):
        if not captioner.model.training and len(batch.image_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(batch, *args)

    captioner.loss = loss


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["loop", "trainer"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_whose_validation_failed_resumes_after_its_last_step(
    tmp_path: Path,
    shapes: Split,
    make_recipe: Callable[..., Recipe],
    make_captioner: Callable[[Recipe], Captioner],
    engine: str,
    epochs: int,
) -> None:
    # Averaged weights are validated, and the model's own are saved.
    recipe = make_recipe(train__engine=engine, train__epochs=epochs, train__ema_decay=0.5)
    whole, failed = tmp_path / "whole", tmp_path / "failed"
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=whole, say=lambda _: None)
    captioner = make_captioner(recipe)
    fail_validation(captioner)
    lines: list[str] = []
    with pytest.raises(ModelError, match="validation images does not fit"):
        train(captioner, shapes, recipe=recipe, run_folder=failed, say=lines.append)
    assert lines[-1].startswith("validation failed: the training so far is saved")
    assert [path.name for path in (failed / "checkpoints").glob("step-*")] == ["step-000003"]
    result = train(
        make_captioner(recipe),
        shapes,
        recipe=recipe,
        run_folder=failed,
        resume=True,
        say=lambda _: None,
    )
    assert result.steps == 3 * epochs
    assert rows(failed) == rows(whole)
    assert_same_weights(model_file(whole), model_file(failed))
