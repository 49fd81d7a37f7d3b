"""The training loop: plan, step, validate, checkpoint; readable from top to bottom.

Runs on one or many processes through accelerate. Each process takes every n-th micro batch of a
step and gradients are summed over processes after the last one, so that a step is the same step
whatever the number of processes, and uneven last batches need no padding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed

from captune.data.batching import StepPlan
from captune.errors import DataError
from captune.models import Captioner
from captune.models.devices import Hardware, choose_hardware
from captune.recipe import Recipe
from captune.records import CaptionRecord
from captune.training.checkpoint import (
    TrainState,
    load_checkpoint,
    recover_folder,
    save_checkpoint,
    write_folder,
)
from captune.training.dropout import use_packed_dropout
from captune.training.feed import Feed
from captune.training.memory import keep_freed_memory
from captune.training.optimizer import (
    AveragedWeights,
    learning_rate,
    make_optimizer,
)
from captune.training.prepare import make_feeds
from captune.training.steps import Stepper
from captune.training.tracking import ProgressLine, RunLog, progress_line
from captune.training.validation import Validator, is_better, make_validator

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training came to.

    Attributes:
        model_folder: The best model, a plain Hugging Face folder.
        steps: Optimizer steps done.
        best_step: Step of the best validation.
        best_value: Its value of `train.best_metric`.
        seconds: Training time over all resumes.
    """

    model_folder: Path
    steps: int
    best_step: int
    best_value: float | None
    seconds: float


def train(
    captioner: Captioner,
    records: tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]],
    *,
    recipe: Recipe,
    run_folder: Path,
    resume: bool = False,
    say: Say = print,
) -> TrainResult:
    """Trains the captioner and leaves the best model in `run_folder/model`.

    Args:
        captioner: With its parts frozen; moved to the device and trained in place.
        records: Training and validation images.
        recipe: Every setting.
        run_folder: Takes checkpoints/, log.jsonl, tensorboard/ and model/.
        resume: Go on from the newest checkpoint, where there is one.
        say: Takes lines for people.

    Raises:
        DataError: No training image is left.
        ModelError: A single image does not fit into the device's memory.
    """
    run = _start(captioner, records, recipe=recipe, run_folder=run_folder, say=say)
    if resume:
        run.resume()
    with progress_line(
        run.total_steps, done=run.state.step, enabled=run.accelerator.is_main_process
    ) as bar:
        while not run.state.finished:
            run.epoch(bar)
    run.accelerator.end_training()
    state = run.state
    return TrainResult(
        run_folder / "model", state.step, state.best_step, state.best_value, state.seconds
    )


@dataclass(slots=True)
class _Run:
    """The moving parts of one training run."""

    captioner: Captioner
    recipe: Recipe
    folder: Path
    hardware: Hardware
    accelerator: Accelerator
    feed: Feed
    validator: Validator | None
    stepper: Stepper
    log: RunLog
    total_steps: int
    steps_an_epoch: int
    say: Say
    state: TrainState

    def resume(self) -> None:
        """Goes back to the newest checkpoint: weights, optimizer, random states and place."""
        recover_folder(self.folder / "model")
        found = load_checkpoint(
            self.folder / "checkpoints",
            captioner=self.captioner,
            optimizer=self.stepper.optimizer,
            average=self.stepper.average,
        )
        if found is None:
            self.say("no checkpoint to resume from: training starts at step 0")
            return
        self.state = found
        if self.accelerator.is_main_process:
            self.log.rewind(found.step)
        self.say(f"resumed at step {found.step} of {self.total_steps}")

    def epoch(self, bar: ProgressLine) -> None:
        """The steps of the current epoch that are left."""
        state = self.state
        plans = self.feed.plan(state.epoch)[state.step_in_epoch :]
        plans = plans[: self.total_steps - state.step]
        started, images = time.monotonic(), 0
        for plan, batches in zip(plans, self.feed.batches(self._own_share(plans)), strict=True):
            self.captioner.train_mode()
            before = time.monotonic()
            grad_norm = self.stepper.step(batches, state)
            state.step += 1
            state.step_in_epoch += 1
            state.seconds += time.monotonic() - before
            images += plan.num_images
            rate = images / max(1e-9, time.monotonic() - started)
            if state.step_in_epoch == self.steps_an_epoch:
                state.epoch, state.step_in_epoch = state.epoch + 1, 0
            self._log(bar, grad_norm, rate)
            self._validate_and_save()
            if state.finished:
                return

    def _own_share(self, plans: Sequence[StepPlan]) -> list[StepPlan]:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return [replace(p, micro_batches=p.micro_batches[rank::world]) for p in plans]

    def _log(self, bar: ProgressLine, grad_norm: float, rate: float) -> None:
        state, settings = self.state, self.recipe.train
        if state.step % settings.log_every and state.step != self.total_steps:
            bar.advance(state.step, loss=None, images_per_second=rate)
            return
        loss = state.loss_sum / max(1, state.loss_tokens)
        state.loss_sum, state.loss_tokens = 0.0, 0
        bar.advance(state.step, loss=loss, images_per_second=rate)
        if self.accelerator.is_main_process:
            row = {
                "step": state.step,
                "epoch": round(state.step / self.steps_an_epoch, 4),
                "loss": loss,
                "learning_rate": learning_rate(state.step - 1, self.total_steps, train=settings),
                "grad_norm": grad_norm,
                "images_per_second": round(rate, 2),
            }
            self.log.write(row)

    def _validate_and_save(self) -> None:
        state, settings = self.state, self.recipe.train
        is_last = state.step >= self.total_steps
        if is_last or self._is_due(settings.validate_every):
            self._validate()
        stop = settings.patience is not None and state.stale_validations >= settings.patience
        state.finished = is_last or stop
        if stop and not is_last:
            self.say(f"stopped early: {state.stale_validations} validations without a better value")
        if (state.finished or self._is_due(settings.save_every)) and self._is_main():
            save_checkpoint(
                self.folder / "checkpoints",
                state,
                captioner=self.captioner,
                optimizer=self.stepper.optimizer,
                average=self.stepper.average,
                keep=settings.keep_checkpoints,
            )
        self.accelerator.wait_for_everyone()

    def _is_due(self, every: int | None) -> bool:
        if every is None:
            return self.state.step_in_epoch == 0
        return self.state.step % every == 0

    def _is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    def _validate(self) -> None:
        """Values of the (averaged) weights; the best ones become `model/`."""
        with _weights_in_use(self.stepper.average):
            values = self._values_everywhere()
            state, metric = self.state, self.recipe.train.best_metric
            value = values.get(metric)
            if value is None or is_better(value, state.best_value, metric=metric):
                state.best_value, state.best_step, state.stale_validations = value, state.step, 0
                if self._is_main():
                    write_folder(self.folder / "model", self.captioner.save)
            else:
                state.stale_validations += 1
        if self._is_main() and values:
            epoch = round(state.step / self.steps_an_epoch, 4)
            row = {"step": state.step, "epoch": epoch}
            self.log.write({**row, **{f"val_{name}": v for name, v in values.items()}})
            self._show_captions()
            shown = "  ".join(f"{name} {v:.4f}" for name, v in values.items())
            self.say(f"step {state.step}: validation {shown}")

    def _show_captions(self) -> None:
        if self.validator is None or not self.log.takes_pictures:
            return
        sheet = self.validator.sheet()
        if sheet is not None:
            self.log.show("val_captions", sheet, step=self.state.step)

    def _values_everywhere(self) -> dict[str, float]:
        """The main process validates; the others learn the outcome, which steers all."""
        values: list[dict[str, float]] = [{}]
        if self._is_main() and self.validator is not None:
            values = [self.validator.values()]
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast_object_list(values, src=0)
        return values[0]


def _start(
    captioner: Captioner,
    records: tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]],
    *,
    recipe: Recipe,
    run_folder: Path,
    say: Say,
) -> _Run:
    """Everything that stands before the first step."""
    settings = recipe.train
    hardware = choose_hardware(settings.device, settings.precision)
    say(f"training on {hardware.describe()}; {captioner.describe_parameters()}")
    run_folder.mkdir(parents=True, exist_ok=True)
    accelerator = _make_accelerator(recipe, run_folder, hardware=hardware)
    place_captioner(captioner, recipe, hardware=hardware)
    feed, val_feed = make_feeds(
        captioner, records, recipe=recipe, run_folder=run_folder, hardware=hardware, say=say
    )
    if not feed.data.records:
        raise DataError(
            "no training image with a caption is left",
            where="data",
            fix="look at the set with: captune data check DATA",
        )
    steps_an_epoch = len(feed.plan(0))
    total_steps = settings.max_steps or math.ceil(settings.epochs * steps_an_epoch)
    stepper = Stepper(
        captioner=captioner,
        recipe=recipe,
        hardware=hardware,
        accelerator=accelerator,
        optimizer=accelerator.prepare(make_optimizer(captioner, settings)),
        average=AveragedWeights(captioner, settings.ema_decay) if settings.ema_decay else None,
        total_steps=total_steps,
        say=say,
    )
    validator = None
    if val_feed.data.records:
        validator = make_validator(captioner, val_feed, recipe=recipe, hardware=hardware)
    # Each process drops other units; the weights are the same everywhere.
    set_seed(recipe.seed + accelerator.process_index)
    return _Run(
        captioner=captioner,
        recipe=recipe,
        folder=run_folder,
        hardware=hardware,
        accelerator=accelerator,
        feed=feed,
        validator=validator,
        stepper=stepper,
        log=RunLog(run_folder / "log.jsonl", accelerator),
        total_steps=total_steps,
        steps_an_epoch=steps_an_epoch,
        say=say,
        state=TrainState(),
    )


def _make_accelerator(recipe: Recipe, run_folder: Path, *, hardware: Hardware) -> Accelerator:
    accelerator = Accelerator(
        cpu=hardware.device.type == "cpu",
        mixed_precision="fp16" if hardware.precision == "fp16" else "no",
        log_with=list(recipe.train.trackers) or None,
        project_config=ProjectConfiguration(
            project_dir=str(run_folder), logging_dir=str(run_folder / "tensorboard")
        ),
    )
    accelerator.init_trackers(recipe.name)
    return accelerator


def place_captioner(captioner: Captioner, recipe: Recipe, *, hardware: Hardware) -> None:
    """Puts the model on its device, set up to be trained there as the recipe asks."""
    if hardware.device.type == "cpu":
        keep_freed_memory()
        use_packed_dropout(captioner.model)
    captioner.model.to(hardware.device)
    captioner.choose_attention(hardware.device)
    if recipe.train.gradient_checkpointing:
        captioner.enable_gradient_checkpointing()


def _weights_in_use(average: AveragedWeights | None) -> AbstractContextManager[None]:
    return average.applied() if average is not None else nullcontext()
