"""The training loop: plan, step, validate, checkpoint; readable from top to bottom.

Runs on one or many processes through accelerate. Each process takes every n-th micro batch of a
step and gradients are summed over processes after the last one, so that a step is the same step
whatever the number of processes, and uneven last batches need no padding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate.utils import set_seed

from captune.folders import recover_folder
from captune.models import Captioner
from captune.progress import Say
from captune.recipe import Recipe
from captune.training.batches.feeding import Feed
from captune.training.batches.planning import StepPlan
from captune.training.checkpoint import load_checkpoint, save_checkpoint
from captune.training.run_state import RunKeeper
from captune.training.setup import (
    Splits,
    TrainResult,
    finish_trackers,
    make_accelerator,
    start_run,
)
from captune.training.steps.optimizer import make_optimizer
from captune.training.steps.optimizer_step import Stepper
from captune.training.tracking import ProgressLine, progress_line


def train(
    captioner: Captioner,
    records: Splits,
    *,
    recipe: Recipe,
    run_folder: Path,
    resume: bool = False,
    say: Say = print,
) -> TrainResult:
    """Trains by captune's own loop; what is given and left behind is `captune.training.train`'s.

    Raises:
        DataError: No training image is left.
        ModelError: A single image does not fit into the device's memory.
    """
    accelerator = make_accelerator(recipe, run_folder)
    start = start_run(
        captioner, records, recipe=recipe, run_folder=run_folder, accelerator=accelerator, say=say
    )
    keeper = start.keeper
    stepper = Stepper(
        captioner=captioner,
        recipe=recipe,
        hardware=start.hardware,
        accelerator=accelerator,
        optimizer=accelerator.prepare(make_optimizer(captioner, recipe.train)),
        average=keeper.average,
        total_steps=keeper.total_steps,
        say=say,
    )
    # Each process drops other units; the weights are the same everywhere.
    set_seed(recipe.seed + accelerator.process_index)
    run = _Run(captioner, recipe, start.feed, stepper, keeper)
    if resume:
        run.resume()
    with progress_line(keeper.total_steps, done=keeper.state.step, enabled=keeper.is_main) as bar:
        while not keeper.state.finished:
            run.epoch(bar)
    finish_trackers(accelerator)
    return start.result()


@dataclass(slots=True)
class _Run:
    """The moving parts of one training run."""

    captioner: Captioner
    recipe: Recipe
    feed: Feed
    stepper: Stepper
    keeper: RunKeeper

    def resume(self) -> None:
        """Goes back to the newest checkpoint: weights, optimizer, random states and place."""
        keeper = self.keeper
        recover_folder(keeper.folder / "model")
        found = load_checkpoint(
            keeper.folder / "checkpoints",
            captioner=self.captioner,
            optimizer=self.stepper.optimizer,
            average=self.stepper.average,
        )
        if found is None:
            keeper.say("no checkpoint to resume from: training starts at step 0")
            return
        keeper.go_on(found)

    def epoch(self, bar: ProgressLine) -> None:
        """The steps of the current epoch that are left."""
        keeper = self.keeper
        state = keeper.state
        plans = self.feed.plan(state.epoch)[state.step_in_epoch :]
        plans = plans[: keeper.total_steps - state.step]
        keeper.restart_clock()
        for plan, batches in zip(plans, self.feed.batches(self._own_share(plans)), strict=True):
            self.captioner.train_mode()
            before = time.monotonic()
            grad_norm = self.stepper.step(batches, state)
            keeper.count_step(seconds=time.monotonic() - before, images=plan.num_images)
            if keeper.is_log_due:
                keeper.log_step(bar, grad_norm=grad_norm)
            else:
                keeper.show(bar)
            if keeper.is_validation_due:
                keeper.validate()
            if keeper.settle():
                self._save()
            keeper.accelerator.wait_for_everyone()
            if state.finished:
                return

    def _own_share(self, plans: Sequence[StepPlan]) -> list[StepPlan]:
        accelerator = self.keeper.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        return [replace(p, micro_batches=p.micro_batches[rank::world]) for p in plans]

    def _save(self) -> None:
        save_checkpoint(
            self.keeper.folder / "checkpoints",
            self.keeper.state,
            captioner=self.captioner,
            optimizer=self.stepper.optimizer,
            average=self.stepper.average,
            keep=self.recipe.train.keep_checkpoints,
        )
