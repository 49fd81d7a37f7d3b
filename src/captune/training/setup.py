"""The setup before the first step, for both engines, and the result of a training."""

from __future__ import annotations

import atexit
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import (
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)

from captune.errors import DataError
from captune.hardware import (
    Hardware,
    choose_hardware,
    refuse_numbered_device,
    rounding_products,
)
from captune.models import Captioner
from captune.progress import Say
from captune.recipe import Recipe, TrainConfig
from captune.records import CaptionRecord
from captune.storage import holds_folder, lock_folder
from captune.training.batches.feeding import Feed
from captune.training.batches.lost_images import LostImages
from captune.training.batches.pixel_reader import explaining_lost_workers
from captune.training.batches.training_inputs import make_feeds
from captune.training.launchers import (
    refuse_distributed_type,
    refuse_shared_devices,
    refuse_split_model,
    refuse_unlike_processes,
)
from captune.training.notices import (
    describe_shares,
    explain_precision,
    find_doubts,
    warn_of_few_steps,
)
from captune.training.run_state import RunState
from captune.training.steps.cpu import keep_freed_memory
from captune.training.steps.dropout import use_packed_dropout
from captune.training.steps.optimizer import AveragedWeights
from captune.training.steps.reduce import GROUP_TIMEOUT, share_weights
from captune.training.team import Launch, ProcessError, Team, join_team
from captune.training.tracking import show_settings, tracker_settings
from captune.training.validation import make_validator

Splits = tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]]
"""Training and validation images."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """The result of a training.

    Attributes:
        model_folder: The best model, a plain Hugging Face folder.
        steps: Optimizer steps done.
        best_step: Step of the best validation.
        best_value: Its value of `train.best_metric`; `None`: nothing was validated.
        seconds: Training time over all resumes.
    """

    model_folder: Path
    steps: int
    best_step: int
    best_value: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is ready to train.

    Attributes:
        hardware: Device and precision; the captioner is on the device.
        feed: The training batches.
        run_state: State, log and validation.
    """

    hardware: Hardware
    feed: Feed
    run_state: RunState

    def watch_images(self) -> None:
        """Warn of images that can no longer be read, and end the training if they are many."""
        run_state = self.run_state
        feeds = [self.feed]
        if run_state.validator is not None:
            feeds.append(run_state.validator.feed)
        for feed in feeds:
            fraction = feed.recipe.data.max_bad_fraction
            feed.lost = LostImages(len(feed.data.records), fraction, run_state.say)

    def result(self) -> TrainResult:
        """Return the result of the training so far."""
        state = self.run_state.state
        folder = self.run_state.folder / "model"
        return TrainResult(folder, state.step, state.best_step, state.best_value, state.seconds)


def start_run(
    captioner: Captioner,
    records: Splits,
    *,
    recipe: Recipe,
    run_folder: Path,
    launch: Launch,
    say: Say,
) -> Start:
    """Move the captioner to its device; build feeds, validator and the run's state.

    Raises:
        DataError: No training image is left.
        RecipeError: The device or precision is not available.
    """
    settings = recipe.train
    hardware = choose_hardware(settings.device, settings.precision)
    say(f"training on {hardware.describe()}; {captioner.describe_parameters()}")
    for line in explain_precision(settings.precision, hardware.precision):
        say(line)
    place_captioner(captioner, recipe, hardware=hardware)
    share_weights(captioner.model)
    feed, val_feed = make_feeds(
        captioner, records, recipe=recipe, launch=launch, hardware=hardware, say=say
    )
    require_images(feed)
    validator = None
    if val_feed.data.records:
        validator = make_validator(
            captioner, val_feed, recipe=recipe, hardware=hardware, team=launch.team
        )
    plans = feed.plan(0)
    total_steps = count_steps(settings, len(plans))
    largest = max(plan.num_images for plan in plans)
    for line in (
        *describe_shares(largest, launch.team.size, global_batch_size=settings.global_batch_size),
        *find_doubts(settings, total_steps),
        *warn_of_few_steps(recipe, total_steps),
    ):
        say(line)
    run_state = RunState(
        captioner=captioner,
        recipe=recipe,
        folder=run_folder,
        accelerator=launch.accelerator,
        team=launch.team,
        hardware=hardware,
        average=AveragedWeights(captioner, settings.ema_decay) if settings.ema_decay else None,
        validator=validator,
        total_steps=total_steps,
        steps_per_epoch=len(plans),
        say=say,
    )
    return Start(hardware, feed, run_state)


def require_images(feed: Feed) -> None:
    """Require at least one training image.

    Raises:
        DataError: No training image is left.
    """
    if not feed.data.records:
        raise DataError(
            "no training image with a caption is left",
            where="data",
            fix="check the data set with: captune data check DATA",
        )


def count_steps(train: TrainConfig, steps_per_epoch: int) -> int:
    """Return the optimizer steps in a whole run."""
    return train.max_steps or math.ceil(train.epochs * steps_per_epoch)


def make_accelerator(recipe: Recipe, run_folder: Path) -> Accelerator:
    """Set up processes and loss scaling.

    Raises:
        RecipeError: The device or precision is not available, or one numbered device would be
            shared by several processes.
    """
    refuse_numbered_device(recipe.train.device)
    refuse_split_model()
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    precision = "fp16" if hardware.precision == "fp16" else "no"
    _forget_other_settings(hardware, precision)
    accelerator = Accelerator(
        cpu=hardware.device.type == "cpu",
        mixed_precision=precision,
        log_with=list(recipe.train.trackers) or None,
        # ACCELERATE_DYNAMO_BACKEND would compile a model whose parts are called one by one, and
        # round float32 products to TF32.
        dynamo_backend="no",
        # Otherwise accelerate divides gradients by ACCELERATE_GRADIENT_ACCUMULATION_STEPS.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=GROUP_TIMEOUT)],
        project_config=ProjectConfiguration(
            project_dir=str(run_folder), logging_dir=str(run_folder / "tensorboard")
        ),
    )
    refuse_distributed_type(accelerator.distributed_type)
    return accelerator


def _forget_other_settings(hardware: Hardware, precision: str) -> None:
    """Let a run in this process use another precision or kind of device than the one before.

    accelerate keeps both for the whole process and refuses to change them. A process group belongs
    to torch, and stays.
    """
    kept = {**AcceleratorState._shared_state, **PartialState._shared_state}
    if kept.get("_mixed_precision", precision) != precision:
        AcceleratorState._reset_state()
    device = kept.get("device", hardware.device)
    if device.type != hardware.device.type and not dist.is_initialized():
        AcceleratorState._reset_state(reset_partial_state=True)


@contextmanager
def launched(recipe: Recipe, run_folder: Path) -> Iterator[Launch]:
    """Run the block as the training of all processes, with the folder locked and trackers open.

    Raises:
        OutputError: Another process writes this folder, or it cannot be written.
        ProcessError: Another process failed or is gone.
        RecipeError: The device or precision is not available, the launcher splits the model, or
            the processes do not match.
        DataError: A process that reads images was lost.
    """
    accelerator = make_accelerator(recipe, run_folder)
    hardware = choose_hardware(recipe.train.device, recipe.train.precision)
    team = join_team()
    with (
        team.failing_together(),
        _explaining_lost_processes(),
        explaining_lost_workers(),
        _locked(run_folder, team),
        rounding_products(hardware),
    ):
        refuse_unlike_processes(team, hardware)
        refuse_shared_devices(team, hardware)
        run_folder.mkdir(parents=True, exist_ok=True)
        accelerator.init_trackers(recipe.name, init_kwargs=tracker_settings(recipe, run_folder))
        show_settings(accelerator, recipe)
        yield Launch(accelerator, team)
        _finish_trackers(accelerator)
        team.part()


@contextmanager
def _locked(run_folder: Path, team: Team) -> Iterator[None]:
    """Lock the run's folder in the first process, unless the calling run has locked it."""
    is_ours = not team.leads or holds_folder(run_folder)
    with nullcontext() if is_ours else lock_folder(run_folder):
        # The others start only after the first process has locked the folder.
        team.wait_for_all()
        yield


@contextmanager
def _explaining_lost_processes() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # gloo raises a plain RuntimeError that names gloo's source files.
        if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
            raise
        raise ProcessError(
            "another process of the run is gone, or did not answer for"
            f" {GROUP_TIMEOUT.total_seconds() / 60:.0f} minutes",
            where=str(error).partition("\n")[0],
            fix="its own output shows why; then resume with --resume",
        ) from error


def _finish_trackers(accelerator: Accelerator) -> None:
    """Close the trackers. The process group stays.

    `Accelerator.end_training` would destroy the group, which may be the script's own; a second
    group in the same launch finds what the first left in the store, and waits forever.
    """
    for tracker in accelerator.trackers:
        tracker.finish()
    if accelerator.num_processes > 1:
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def place_captioner(captioner: Captioner, recipe: Recipe, *, hardware: Hardware) -> None:
    """Move the model to its device, and set it up for training there."""
    if hardware.device.type == "cpu":
        keep_freed_memory()
        # Convolutions' backward passes are a third of a MobileNetV2's step; channels last makes
        # them a fifth faster.
        captioner.model.to(memory_format=torch.channels_last)
    captioner.move_to(hardware.device)
    if hardware.device.type == "cpu":
        use_packed_dropout(captioner.model)
    if recipe.train.gradient_checkpointing:
        captioner.enable_gradient_checkpointing()
