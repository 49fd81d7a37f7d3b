"""The work around the optimizer steps of every engine: count, log, validate, keep the best, stop.

Both engines report each finished step to a `RunState`, so a run's folder is the same with either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator

from captune.errors import DataError, OutputError
from captune.evaluation import format_value, metric_label
from captune.hardware import Hardware
from captune.models import Captioner
from captune.progress import Progress, no_progress, show_progress
from captune.recipe import Recipe
from captune.stopping import HeldSignal, hold_signals
from captune.storage import write_folder
from captune.suggest import format_count
from captune.training.checkpoint import TRY_RESUME, TrainState
from captune.training.notices import describe_other_team
from captune.training.steps.optimizer import AveragedWeights, learning_rate
from captune.training.steps.reduce import find_channel, find_maxima
from captune.training.team import Team, stopped_process
from captune.training.tracking import RunLog
from captune.training.validation import Validator, find_value, is_better

Value = TypeVar("Value")


@dataclass(slots=True)
class RunState:
    """Keeps a run's state, its log and its best model.

    Attributes:
        captioner: Trained in place.
        recipe: Every setting.
        folder: Receives log.jsonl and model/.
        accelerator: Passes numbers to the trackers.
        team: The processes; the first one writes.
        hardware: Reports memory in use.
        average: Averaged weights, which are validated and saved; `None`: the model's own.
        validator: Scores the validation split; `None`: there is none, the last weights are saved.
        total_steps: Steps in the whole run.
        steps_per_epoch: Steps per epoch.
        say: Called with each progress message.
        state: The progress of the run.
        stopped: Whether a signal ends the run here, with a checkpoint.
        needs_validation: Whether the weights that the run resumed from are to be validated first:
            that failed before, or they are its last ones, as it now has fewer steps.
    """

    captioner: Captioner
    recipe: Recipe
    folder: Path
    accelerator: Accelerator
    team: Team
    hardware: Hardware
    average: AveragedWeights | None
    validator: Validator | None
    total_steps: int
    steps_per_epoch: int
    say: Callable[[str], None]
    state: TrainState = field(default_factory=TrainState)
    stopped: bool = False
    needs_validation: bool = False
    log: RunLog = field(init=False)
    _started: float = field(init=False, default_factory=time.monotonic)
    _images: int = field(init=False, default=0)
    _signal: HeldSignal = field(init=False, default_factory=HeldSignal)

    def __post_init__(self) -> None:
        self.log = RunLog(self.folder / "log.jsonl", self.accelerator)
        self.state.num_processes = self.team.size

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.team.leads

    @property
    def is_last_step(self) -> bool:
        """Whether all steps are done."""
        return self.state.step >= self.total_steps

    @property
    def _is_stale(self) -> bool:
        """Whether `train.patience` has been reached."""
        patience = self.recipe.train.patience
        return patience is not None and self.state.stale_validations >= patience

    def resume_from(self, state: TrainState) -> None:
        """Resume from a saved state: later lines of the log are removed.

        Raises:
            OutputError: It is at a step that no epoch of this data and these batches has.
        """
        if state.step_in_epoch >= self.steps_per_epoch:
            raise OutputError(
                f"the checkpoint is at step {state.step_in_epoch} of its epoch, but an epoch has"
                f" {format_count(self.steps_per_epoch, 'step')}: it belongs to other data or"
                " batches",
                where=str(self.folder / "checkpoints"),
                fix="resume with the data and train.global_batch_size that it began with, or start"
                " again with --force",
            )
        saved_by, state.num_processes = state.num_processes, self.team.size
        was_finished, self.state = state.finished, state
        # Steps and patience may have changed since.
        state.finished = self.is_last_step or self._is_stale
        is_shortened = state.finished and not was_finished
        self.needs_validation = is_shortened or state.unvalidated
        if self.is_main:
            self.log.rewind(state.step)
        self.say(f"resumed at step {state.step} of {self.total_steps}")
        if is_shortened:
            self.say("the run now ends there: its weights are validated, and not trained any more")
        for line in describe_other_team(saved_by, self.team.size):
            self.say(line)

    @contextmanager
    def watching(self) -> Iterator[Progress]:
        """Show progress; signals are held until the end of a step, where `settle` handles them."""
        with hold_signals() as self._signal:
            if self.is_main:
                self._show_start()
                with show_progress(
                    "training",
                    self.total_steps,
                    done=self.state.step,
                    unit="steps",
                    say=self.say,
                ) as progress:
                    yield progress
            else:
                yield no_progress()

    def read_together(self, read: Callable[[], Value], save: Callable[[], None]) -> Value:
        """Return the batches of the next step; all processes call this together.

        If one of them cannot read its images, they save the steps done, and end.

        Args:
            read: Returns this process's batches.
            save: Saves a checkpoint, called by all processes together.

        Raises:
            DataError: Too many images of this process can no longer be read.
            ProcessError: Those of another process cannot.
        """
        batches: list[Value] = []
        error: DataError | None = None
        try:
            batches.append(read())
        except DataError as raised:
            error = raised
        failed = self.team.rank + 1 if error is not None else 0
        (failed,) = find_maxima([failed], device=self.accelerator.device)
        if not failed:
            return batches[0]
        if self.state.step:
            self.say(f"the training is saved at step {self.state.step}")
            save()
        raise error or stopped_process(failed - 1)

    def restart_clock(self) -> None:
        """Start counting images per second."""
        self._started, self._images = time.monotonic(), 0

    def count_step(self, *, seconds: float, images: int) -> None:
        """Count a finished optimizer step, its `seconds`, and its `images` in all processes."""
        state = self.state
        state.step += 1
        state.step_in_epoch += 1
        state.seconds += seconds
        self._images += images
        if state.step_in_epoch == self.steps_per_epoch:
            state.epoch, state.step_in_epoch = state.epoch + 1, 0

    @property
    def is_log_due(self) -> bool:
        """Whether the step is logged."""
        return self.state.step % self.recipe.train.log_every == 0 or self.is_last_step

    def show(self, progress: Progress, *, loss: float | None = None) -> None:
        """Move the progress bar to the step."""
        rate = f"{self._rate():.1f} images/s"
        status = rate if loss is None else f"loss {loss:.3f}  {rate}"
        progress.move_to(self.state.step, status=status)

    def log_step(self, progress: Progress, *, grad_norm: float) -> None:
        """Write a line of the log, with the mean loss per token since the last one."""
        state = self.state
        loss = state.loss_sum / max(1, state.loss_tokens)
        state.loss_sum, state.loss_tokens = 0.0, 0
        self.show(progress, loss=loss)
        if self.is_main:
            train = self.recipe.train
            self.log.write(
                {
                    "step": state.step,
                    "epoch": self._epoch(),
                    "loss": loss,
                    "learning_rate": learning_rate(state.step - 1, self.total_steps, train=train),
                    "grad_norm": grad_norm,
                    "images_per_second": round(self._rate(), 2),
                    **self.hardware.usage(),
                }
            )

    @property
    def is_validation_due(self) -> bool:
        """Whether the step is followed by a validation."""
        return self.is_last_step or self._is_due(self.recipe.train.validate_every)

    def validate(self, save: Callable[[], None]) -> dict[str, float]:
        """Return the validation of the (averaged) weights, and save the best weights in `model/`.

        All processes take part, and return when the first one has written.

        Args:
            save: Saves a checkpoint, called by all processes together. It is called if the
                validation fails in any of them, so that the steps before it are not lost.
        """
        self.state.unvalidated = True
        try:
            values = self._values()
            if self.is_main and values:
                self._report(values)
            self.team.wait_for_all()
            self.state.unvalidated = False
        finally:
            if self.state.unvalidated and self.team.regroup():
                self.say("validation failed: the training so far is saved, and --resume repeats it")
                save()
        return values

    def _report(self, values: dict[str, float]) -> None:
        row = {"step": self.state.step, "epoch": self._epoch()}
        self.log.write({**row, **{f"val_{name}": v for name, v in values.items()}})
        shown = ", ".join(_describe_value(name, value) for name, value in values.items())
        self.say(f"step {self.state.step}: validation {shown}")
        self._show_captions()

    def _values(self) -> dict[str, float]:
        """Return the values of a validation; save the weights if they are the best so far."""
        with self._weights_in_use():
            values = self.validator.values() if self.validator is not None else {}
            state, metric = self.state, self.recipe.train.best_metric
            value, loss = find_value(values, metric=metric), values.get("loss")
            if value is None or is_better(
                value, state.best_value, metric=metric, losses=(loss, state.best_loss)
            ):
                if self.is_main:
                    write_folder(self.folder / "model", self.captioner.save, then=TRY_RESUME)
                state.best_value, state.best_loss, state.best_step = value, loss, state.step
                state.stale_validations = 0
            else:
                state.stale_validations += 1
        return values

    def _show_start(self) -> None:
        """Show captions of the model before training, so that a picture shows where it began."""
        if self.state.step == 0 and self.validator is not None and self.log.takes_pictures:
            self.validator.caption_sheet()
            self._show_captions()

    def _show_captions(self) -> None:
        if self.validator is None or not self.log.takes_pictures:
            return
        sheet = self.validator.sheet()
        if sheet is not None:
            self.log.show("val/captions", sheet, step=self.state.step)

    def settle(self) -> bool:
        """Decide, after a step and its validation, whether the run ends here.

        Returns:
            Whether a checkpoint is due.
        """
        state, settings = self.state, self.recipe.train
        state.finished = self.is_last_step or self._is_stale
        if self._is_stale and not self.is_last_step:
            self.say(
                f"stopped early: {format_count(state.stale_validations, 'validation')} without"
                " improvement"
            )
        held = self._signal
        alone = self.team.size == 1
        number = held.number if alone else agree_on_signal(held, self.hardware.device)
        self.stopped = number is not None
        return state.finished or self.stopped or self._is_due(settings.save_every)

    def _is_due(self, every: int | None) -> bool:
        if every is None:
            return self.state.step_in_epoch == 0
        return self.state.step % every == 0

    def _epoch(self) -> float:
        return round(self.state.step / self.steps_per_epoch, 4)

    def _rate(self) -> float:
        return self._images / max(1e-9, time.monotonic() - self._started)

    def _weights_in_use(self) -> AbstractContextManager[None]:
        return self.average.applied() if self.average is not None else nullcontext()


def agree_on_signal(held: HeldSignal, device: torch.device) -> int | None:
    """Return the signal that any process held before; all processes call this together.

    It is held in every process from then on. One that arrives here during the sum is held for the
    next step: the others have not heard of it, and would wait for a process that stops alone.
    """
    group, device = find_channel(device)
    number = torch.tensor(held.number or 0, device=device)
    torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX, group=group)
    agreed = int(number) or None
    if held.number is None:
        held.number = agreed
    return agreed


def _describe_value(name: str, value: float) -> str:
    # The loss changes too slowly for the three decimals of other figures.
    shown = f"{value:.4f}" if name == "loss" else format_value(name, value)
    return f"{metric_label(name)} {shown}"
