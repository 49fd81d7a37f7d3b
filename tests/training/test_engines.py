"""Both engines train a recipe to the same losses, with the same folder and the same model."""

from __future__ import annotations

import json
import os
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from captune.errors import DataError, ModelError, OutputError, RecipeError
from captune.models import load_captioner, read_decoding
from captune.recipe import GenerateConfig, fill_decoding
from captune.stopping import Stopped, signals_stop
from captune.training import check_engine, train
from captune.training.batches.feeding import REHEARSED
from support.models.tiny_models import ONE_OF_EACH
from support.runs.same_weights import assert_same_weights, model_file

# 24 images in micro batches of 5, two per step: the last micro batch has 4, the last step one.
UNEVEN = {"train__micro_batch_size": 5, "train__global_batch_size": 10}


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def column(folder: Path, name: str) -> list[float]:
    return [row[name] for row in rows(folder) if name in row]


def run(tmp_path, shapes, recipe, captioner, **options):
    folder = tmp_path / recipe.train.engine
    train(captioner, shapes, recipe=recipe, run_folder=folder, say=lambda _: None, **options)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("size", ONE_OF_EACH)
def test_both_engines_have_the_same_losses_step_by_step(
    tmp_path, shapes, make_recipe, make_captioner, no_dropout, size
) -> None:
    folders = []
    for engine in ("loop", "trainer"):
        recipe = make_recipe(model__size=size, train__engine=engine, **UNEVEN)
        folders.append(run(tmp_path, shapes, recipe, no_dropout(make_captioner(recipe))))
    loop, trainer = folders
    assert len(column(loop, "loss")) == 6
    for name in ("loss", "grad_norm", "learning_rate", "val_loss"):
        assert column(trainer, name) == pytest.approx(column(loop, name), abs=1e-5), name
    assert [row["step"] for row in rows(trainer)] == [row["step"] for row in rows(loop)]
    assert [row["epoch"] for row in rows(trainer)] == [row["epoch"] for row in rows(loop)]
    assert_same_weights(model_file(loop), model_file(trainer), tolerance=1e-5)


@pytest.mark.slow
def test_all_settings_have_the_same_effect_in_both_engines(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    folders = []
    for engine in ("loop", "trainer"):
        recipe = make_recipe(
            train__engine=engine,
            # GPT-2 drops units: the engines must draw the same ones.
            model__size="vit-gpt2-tiny",
            model__freeze=["vision.first-1"],
            data__max_captions=2,
            train__feature_cache="memory",
            train__word_dropout=0.2,
            train__label_smoothing=0.1,
            train__ema_decay=0.5,
            train__max_grad_norm=0.3,
            train__vision_lr_scale=0.1,
            train__schedule="linear",
            train__warmup_steps=2,
            train__min_lr_ratio=0.1,
            train__log_every=2,
            train__validate_every=2,
            train__best_metric="cider",
            **UNEVEN,
        )
        folders.append(run(tmp_path, shapes, recipe, make_captioner(recipe)))
    loop, trainer = folders
    assert len(column(loop, "loss")) == len(column(loop, "val_cider")) == 3
    for name in ("loss", "grad_norm", "learning_rate", "val_loss", "val_cider", "val_bleu_4"):
        assert column(trainer, name) == pytest.approx(column(loop, name), abs=1e-5), name
    assert_same_weights(model_file(loop), model_file(trainer), tolerance=1e-5)


@pytest.mark.parametrize("engine", ["loop", "trainer"])
def test_the_trained_model_is_saved_with_the_recipes_decoding(
    tmp_path, shapes, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(
        train__engine=engine,
        train__max_steps=1,
        generate__num_beams=5,
        generate__length_penalty=0.4,
        generate__max_new_tokens=17,
    )
    folder = run(tmp_path, shapes, recipe, make_captioner(recipe))
    own = read_decoding(str(folder / "model"))
    assert fill_decoding(GenerateConfig.model_validate({}), own) == recipe.generate


@pytest.mark.slow
def test_the_trainer_engine_writes_the_same_folder_as_the_loop(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = make_recipe(train__engine="trainer", train__trackers=["tensorboard"])
    folder = run(tmp_path, shapes, recipe, make_captioner(recipe))
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "step-000003",
        "step-000006",
    ]
    assert load_captioner(folder / "model").family == "blip"
    assert "use_cache" not in json.loads((folder / "model" / "config.json").read_text())
    (file,) = (folder / "tensorboard").rglob("events.*")
    events = EventAccumulator(str(file.parent)).Reload()
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(column(folder, "loss"))
    assert len(events.Scalars("val/loss")) == 2
    assert [e.step for e in events.Images("val/captions")] == [0, 3, 6]


class _Interrupt(Exception):
    pass


def interrupt(captioner, after: int) -> None:
    """Stop after the `after`-th micro batch, as a kill would."""
    real = captioner.loss
    calls = 0

    def loss(batch, *args):
        nonlocal calls
        calls += REHEARSED not in batch.image_ids
        if calls > after:
            raise _Interrupt
        return real(batch, *args)

    captioner.loss = loss


@pytest.mark.slow
def test_the_trainer_engine_resumes_to_the_same_bits(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(
        model__size="vit-gpt2-tiny",
        train__engine="trainer",
        train__save_every=2,
        train__word_dropout=0.2,
        train__ema_decay=0.9,
    )
    whole = run(tmp_path / "whole", shapes, recipe, make_captioner(recipe))
    # Validation does not call loss: 9 micro batches are 4 steps of two and half a step.
    cut = make_captioner(recipe)
    interrupt(cut, after=9)
    with pytest.raises(_Interrupt):
        run(tmp_path / "cut", shapes, recipe, cut)
    resumed = run(tmp_path / "cut", shapes, recipe, make_captioner(recipe), resume=True)
    assert column(whole, "loss") == column(resumed, "loss")
    assert column(whole, "val_loss") == column(resumed, "val_loss")
    assert_same_weights(model_file(whole), model_file(resumed))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal masks")
def test_a_signal_while_a_resumed_epoch_starts_its_workers_loses_and_repeats_nothing(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    recipe = make_recipe(
        train__engine="trainer", train__save_every=1, train__epochs=2, data__num_workers=1
    )
    whole = run(tmp_path / "whole", shapes, recipe, make_captioner(recipe))
    cut = make_captioner(recipe)
    interrupt(cut, after=2)
    with pytest.raises(_Interrupt):
        run(tmp_path / "cut", shapes, recipe, cut)
    real, masks = BaseProcess.start, []

    def start(process) -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        real(process)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(BaseProcess, "start", start)
        with pytest.raises(Stopped), signals_stop():
            run(tmp_path / "cut", shapes, recipe, make_captioner(recipe), resume=True)
    # A worker that starts with the signal unblocked could end by it, and fail the step.
    assert [signal.SIGTERM in mask for mask in masks] == [True]
    assert column(tmp_path / "cut" / "trainer", "step") == [1, 2]
    resumed = run(tmp_path / "cut", shapes, recipe, make_captioner(recipe), resume=True)
    assert column(resumed, "loss") == column(whole, "loss")
    assert_same_weights(model_file(whole), model_file(resumed))


@pytest.mark.slow
def test_resuming_decodes_no_image_that_was_already_seen(
    tmp_path, shapes, make_recipe, make_captioner, monkeypatch
) -> None:
    from captune.data import InlineDecoder

    recipe = make_recipe(
        train__engine="trainer", train__save_every=1, train__epochs=1, train__max_steps=3
    )
    cut = make_captioner(recipe)
    interrupt(cut, after=4)
    with pytest.raises(_Interrupt):
        run(tmp_path, shapes, recipe, cut)
    decoded = []
    real = InlineDecoder.decode
    monkeypatch.setattr(
        InlineDecoder,
        "decode",
        lambda self, source, use: decoded.append(1) or real(self, source, use),
    )
    run(tmp_path, shapes, recipe, make_captioner(recipe), resume=True)
    # One step of 8 images, and the validation images for loss and for captions.
    assert len(decoded) == 8 + 6 + 4


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_resume(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(train__engine="trainer", train__epochs=1)
    folder = run(tmp_path, shapes, recipe, make_captioner(recipe))
    before = (folder / "log.jsonl").read_text()
    run(tmp_path, shapes, recipe, make_captioner(recipe), resume=True)
    assert (folder / "log.jsonl").read_text() == before


@pytest.mark.parametrize(("first", "second"), [("loop", "trainer"), ("trainer", "loop")])
def test_one_engine_does_not_resume_from_the_others_checkpoint(
    tmp_path, shapes, make_recipe, make_captioner, first, second
) -> None:
    recipe = make_recipe(train__engine=first, train__epochs=1)
    train(make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lambda _: None)
    other = make_recipe(train__engine=second, train__epochs=2)
    with pytest.raises(OutputError, match=f"started with train.engine: {first}") as error:
        train(
            make_captioner(other),
            shapes,
            recipe=other,
            run_folder=tmp_path,
            resume=True,
            say=lambda _: None,
        )
    assert f"train.engine={first}" in error.value.fix


@pytest.mark.slow
def test_patience_stops_the_trainer_engine_and_saves(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(
        train__engine="trainer",
        train__epochs=10,
        train__learning_rate=1e-12,
        train__patience=2,
        train__validate_every=1,
        train__best_metric="bleu_4",
    )
    lines: list[str] = []
    result = train(
        make_captioner(recipe), shapes, recipe=recipe, run_folder=tmp_path, say=lines.append
    )
    assert result.steps == 3
    assert any(line.startswith("stopped early") for line in lines)
    assert (tmp_path / "checkpoints" / "step-000003").is_dir()


def test_a_micro_batch_too_large_for_memory_is_an_error_with_a_fix(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe(train__engine="trainer")
    captioner = make_captioner(recipe)

    def loss(*_):
        raise torch.OutOfMemoryError("out of memory")

    captioner.loss = loss
    with pytest.raises(ModelError, match="a micro batch does not fit") as error:
        run(tmp_path, shapes, recipe, captioner)
    assert "train.engine: loop" in error.value.fix


def test_missing_training_captions_are_reported_before_the_first_step(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    from dataclasses import replace

    recipe = make_recipe(train__engine="trainer")
    bare = [replace(record, captions=()) for record in shapes[0]]
    with pytest.raises(DataError, match="no training image with a caption"):
        run(tmp_path, (bare, []), recipe, make_captioner(recipe))


def test_a_numbered_device_is_refused_before_any_work(make_recipe) -> None:
    check_engine(make_recipe(train__engine="loop", train__device="cuda:1").train)
    with pytest.raises(RecipeError, match="cannot choose the device 'cuda:1'") as error:
        check_engine(make_recipe(train__engine="trainer", train__device="cuda:1").train)
    assert error.value.where == "train.device"
