"""The training loop: plan, step, validate, checkpoint; readable from top to bottom.

Runs in one or several processes through accelerate. Each process trains on a share of a step's
images, and gradients are summed over processes after the last micro batch. So a step is the same
for any number of processes, and uneven shares need no padding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accelerate.utils import set_seed

from captune.models import Captioner
from captune.progress import Progress, Say, print_line
from captune.recipe import Recipe
from captune.records import CaptionBatch
from captune.storage import recover_folder
from captune.training.batches.feeding import Feed
from captune.training.batches.planning import StepPlan
from captune.training.checkpoint import load_checkpoint, save_checkpoint
from captune.training.run_state import RunState
from captune.training.setup import (
    Splits,
    Start,
    TrainResult,
    launched,
    start_run,
)
from captune.training.steps.optimizer import make_optimizer
from captune.training.steps.optimizer_step import Stepper
from captune.training.team import Launch


def train_by_loop(
    captioner: Captioner,
    records: Splits,
    *,
    recipe: Recipe,
    run_folder: Path,
    resume: bool = False,
    say: Say = print_line,
) -> TrainResult:
    """Train by captune's own loop; arguments and results are those of `captune.training.train`.

    Raises:
        DataError: No training image is left, or too many can no longer be read.
        ModelError: A single image does not fit into the device's memory, or the training diverges.
    """
    with launched(recipe, run_folder) as launch:
        start = start_run(
            captioner, records, recipe=recipe, run_folder=run_folder, launch=launch, say=say
        )
        start.watch_images()
        run_state = start.run_state
        stepper = make_stepper(start, launch)
        # Each process drops different units; the weights are the same everywhere.
        set_seed(recipe.seed + launch.team.rank)
        run = _Run(captioner, recipe, start.feed, stepper, run_state)
        if resume:
            run.resume()
        if not run_state.state.finished:
            stepper.rehearse(start.feed.largest_batch(launch.team.size), run_state.state)
        with run_state.watching() as progress:
            while not run_state.state.finished and not run_state.stopped:
                run.epoch(progress)
    return start.result()


def make_stepper(start: Start, launch: Launch) -> Stepper:
    """Return the optimizer steps of a run that is ready to train.

    Raises:
        ModelError: The optimizer's moments do not fit into memory.
    """
    run_state = start.run_state
    captioner, recipe = run_state.captioner, run_state.recipe
    return Stepper(
        captioner=captioner,
        recipe=recipe,
        hardware=start.hardware,
        accelerator=launch.accelerator,
        optimizer=launch.accelerator.prepare(make_optimizer(captioner, recipe.train)),
        average=run_state.average,
        total_steps=run_state.total_steps,
        say=run_state.say,
    )


@dataclass(slots=True)
class _Run:
    """One training: captioner, batches, optimizer steps and state."""

    captioner: Captioner
    recipe: Recipe
    feed: Feed
    stepper: Stepper
    run_state: RunState

    def resume(self) -> None:
        """Restore the newest checkpoint: weights, optimizer, random states and progress."""
        run_state = self.run_state
        recover_folder(run_state.folder / "model")
        found = load_checkpoint(
            run_state.folder / "checkpoints",
            captioner=self.captioner,
            optimizer=self.stepper.optimizer,
            average=self.stepper.average,
        )
        if found is None:
            run_state.say("no checkpoint to resume from: training starts at step 0")
            return
        run_state.resume_from(found)
        if run_state.needs_validation:
            run_state.validate(self._save)
            if run_state.settle():
                self._save()

    def epoch(self, progress: Progress) -> None:
        """Do the remaining steps of the current epoch."""
        run_state = self.run_state
        state = run_state.state
        plans = self.feed.plan(state.epoch)[state.step_in_epoch :]
        plans = plans[: run_state.total_steps - state.step]
        run_state.restart_clock()
        team = run_state.team
        own = self.feed.shares(plans, rank=team.rank, num_processes=team.size)
        self._take_steps(progress, plans, self.feed.batches(own))

    def _take_steps(
        self,
        progress: Progress,
        plans: Sequence[StepPlan],
        own_batches: Iterator[list[CaptionBatch]],
    ) -> None:
        run_state = self.run_state
        state = run_state.state
        for plan in plans:
            batches = run_state.read_together(partial(next, own_batches), self._save)
            self.captioner.train_mode()
            before = time.monotonic()
            grad_norm = self.stepper.step(batches, state)
            run_state.count_step(seconds=time.monotonic() - before, images=plan.num_images)
            if run_state.is_log_due:
                run_state.log_step(progress, grad_norm=grad_norm)
            else:
                run_state.show(progress)
            if run_state.is_validation_due:
                run_state.validate(self._save)
            if run_state.settle():
                self._save()
            if state.finished or run_state.stopped:
                return

    def _save(self) -> None:
        save_checkpoint(
            self.run_state.folder / "checkpoints",
            self.run_state.state,
            captioner=self.captioner,
            optimizer=self.stepper.optimizer,
            average=self.stepper.average,
            keep=self.recipe.train.keep_checkpoints,
        )
        # The others sleep while the first process writes.
        self.run_state.team.wait_for_all()
