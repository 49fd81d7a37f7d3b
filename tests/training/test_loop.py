"""The loop learns, resumes bit for bit, and takes the same steps however batches are split."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from captune.errors import DataError, ModelError
from captune.recipe import Recipe
from captune.training import train
from captune.training.batches.feeding import REHEARSED
from support.runs.forks import ForkedRun
from support.runs.loop_script import train_in_process
from support.runs.ranks import launch_ranks
from support.runs.same_weights import assert_same_weights, newest_checkpoint_file
from support.soak import count, soak


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def test_the_loss_falls_and_the_best_model_is_saved(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(train__epochs=8)
    result = train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path)
    curve = losses(tmp_path)
    assert len(curve) == result.steps == 24
    assert sum(curve[-3:]) < 0.8 * sum(curve[:3])
    assert (result.model_folder / "model.safetensors").is_file()
    assert result.best_step % 3 == 0


@pytest.mark.slow
def test_accumulated_micro_batches_have_the_same_losses_as_one_batch(
    tmp_path, shapes, make_recipe, make_captioner, no_dropout
) -> None:
    for size in (8, 2):
        recipe = make_recipe(train__micro_batch_size=size, data__views=["original"])
        captioner = no_dropout(make_captioner(recipe))
        # The order depends on the micro batch size, so each step is a whole epoch of 24 images.
        recipe = recipe.model_copy(
            update={"train": recipe.train.model_copy(update={"global_batch_size": 24})}
        )
        train(captioner, shapes, recipe=recipe, run_folder=tmp_path / str(size))
    assert losses(tmp_path / "8") == pytest.approx(losses(tmp_path / "2"), abs=1e-5)


# Convolutions train in channels-last order on CPUs; checkpoints have the usual order.
@pytest.mark.slow
@pytest.mark.parametrize("size", ["vit-gpt2-tiny", "mobilenet-gpt2-tiny"])
def test_a_run_killed_between_checkpoints_resumes_to_the_same_bits(
    size, tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(
        model__size=size,
        train__save_every=2,
        train__word_dropout=0.2,
        train__ema_decay=0.9,
    )
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path / "whole")
    interrupt_after(5, make_captioner(recipe), shapes, recipe, tmp_path / "cut")
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path / "cut", resume=True)
    whole, cut = (newest_checkpoint_file(tmp_path / name) for name in ("whole", "cut"))
    assert_same_weights(cut, whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    model = "model/model.safetensors"
    assert (tmp_path / "whole" / model).read_bytes() == (tmp_path / "cut" / model).read_bytes()


class _Interrupt(Exception):
    pass


def interrupt_after(steps, captioner, records, recipe, folder) -> None:
    """Stop as a kill would: in the middle of a step, with no chance to save."""
    real = captioner.loss
    calls = 0

    def loss(batch, *args):
        nonlocal calls
        if captioner.model.training and REHEARSED not in batch.image_ids:
            calls += 1
            if calls > steps * 2:
                raise _Interrupt
        return real(batch, *args)

    captioner.loss = loss
    with pytest.raises(_Interrupt):
        train(captioner, records, recipe=recipe, run_folder=folder)


def test_resuming_decodes_no_image_that_was_already_seen(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    from captune.data import InlineDecoder

    recipe = make_recipe(train__save_every=1, train__epochs=1, train__max_steps=3)
    interrupt_after(2, make_captioner(recipe), shapes, recipe, tmp_path)
    decoded = []
    real = InlineDecoder.decode
    monkeypatch.setattr(
        InlineDecoder,
        "decode",
        lambda self, source, use: decoded.append(1) or real(self, source, use),
    )
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, resume=True)
    # One step of 8 images, and the validation images for loss and for captions.
    assert len(decoded) == 8 + 6 + 4


def start(folder: Path, mode: str, recipe: Recipe) -> ForkedRun:
    """Start the training in a process that can be killed."""
    return ForkedRun(train_in_process, folder, mode, recipe)


def end(process: ForkedRun) -> None:
    """Wait for a process that must not fail."""
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output


@soak
@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(count(1, full=12)))
def test_kill_9_at_any_moment_then_resume_ends_with_the_same_bits(
    tmp_path, make_recipe, attempt: int
) -> None:
    # GPT-2's dropout draws from torch's random state; BLIP's is zero by default.
    recipe = make_recipe(model__size="vit-gpt2-tiny", train__save_every=1, train__epochs=4)
    end(start(tmp_path / "whole", "start", recipe))
    folder = tmp_path / "cut"
    kills = 0
    # Each attempt kills at other moments between two checkpoints.
    for delay in (0.05 + 0.03 * attempt, 0.4 - 0.03 * attempt, 0.15 + 0.02 * attempt):
        process = start(folder, "resume", recipe)
        deadline = time.monotonic() + 120
        seen = len(list((folder / "checkpoints").glob("step-*"))) if folder.exists() else 0
        newest = max((p.name for p in (folder / "checkpoints").glob("step-*")), default="")
        while process.poll() is None and time.monotonic() < deadline:
            now = max((p.name for p in (folder / "checkpoints").glob("step-*")), default="")
            if now != newest:
                break
            time.sleep(0.005)
        time.sleep(delay)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate(timeout=60)
        assert seen <= 2
    assert kills >= 2
    end(start(folder, "resume", recipe))
    whole = newest_checkpoint_file(tmp_path / "whole")
    assert_same_weights(newest_checkpoint_file(folder), whole)
    assert losses(tmp_path / "whole") == losses(folder)


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(tmp_path, make_recipe) -> None:
    recipe = make_recipe(name="no-dropout", model__size="vit-gpt2-tiny", data__views=["original"])
    train_in_process(tmp_path / "one", "start", recipe)
    two = (tmp_path / "two", "start", recipe.model_dump_json())
    launch_ranks("loop_script.py", *two, processes=2)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
    ids=["class", "cublas"],
)
def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step(
    tmp_path, shapes, make_recipe, make_captioner, no_dropout, error
) -> None:
    recipe = make_recipe(train__micro_batch_size=8, data__views=["original"])
    train(no_dropout(make_captioner(recipe)), shapes, recipe=recipe, run_folder=tmp_path / "free")
    tight = no_dropout(make_captioner(recipe))
    real = tight.loss

    def loss(batch, *args):
        if len(batch.image_ids) > 2 and tight.model.training:
            raise error
        return real(batch, *args)

    tight.loss = loss
    lines: list[str] = []
    train(tight, shapes, recipe=recipe, run_folder=tmp_path / "tight", say=lines.append)
    assert losses(tmp_path / "tight") == pytest.approx(losses(tmp_path / "free"), abs=1e-5)
    assert [line for line in lines if "halved" in line] == [
        "out of memory: micro batches halved to 4 images, accumulation doubled;"
        " the optimizer step stays the same",
        "out of memory: micro batches halved to 2 images, accumulation doubled;"
        " the optimizer step stays the same",
    ]


def test_one_image_too_large_for_memory_is_an_error_with_a_fix(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe()
    captioner = make_captioner(recipe)

    def loss(*_):
        raise torch.OutOfMemoryError("out of memory")

    captioner.loss = loss
    with pytest.raises(ModelError, match="one image with its captions does not fit") as error:
        train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    assert "data.max_captions" in error.value.fix


def test_patience_stops_a_run_that_does_not_improve(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(
        train__epochs=10, train__learning_rate=1e-12, train__patience=2, train__validate_every=1
    )
    recipe = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"best_metric": "bleu_4"})}
    )
    lines: list[str] = []
    result = train(
        make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lines.append
    )
    assert result.steps == 3
    assert any(line.startswith("stopped early") for line in lines)


def test_training_images_without_captions_are_an_error(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from dataclasses import replace

    recipe = make_recipe()
    bare = [replace(record, captions=()) for record in shapes[0]]
    with pytest.raises(DataError, match="no training image with a caption"):
        train(
            make_captioner(recipe),
            (bare, []),
            recipe=recipe,
            run_folder=tmp_path,
            say=lambda _: None,
        )


def test_no_checkpoint_is_left_half_written(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    from captune.training import checkpoint

    recipe = make_recipe(train__save_every=1)
    real, saved = checkpoint.torch.save, 0

    def save(*args, **kwargs):
        nonlocal saved
        saved += 1
        if saved == 3:
            raise _Interrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(checkpoint.torch, "save", save)
    captioner = make_captioner(recipe)
    with pytest.raises(_Interrupt):
        train(captioner, shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-000001", "step-000002"]


@pytest.mark.slow
def test_state_left_by_an_earlier_trainer_does_not_stop_steps(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from accelerate.state import GradientState

    recipe = make_recipe()
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path / "a")
    GradientState().sync_gradients = False
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path / "b")
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
