"""Checkpoints, written atomically, and resuming from the newest one.

A temporary folder is filled, synced and renamed, so that a kill at any moment leaves either the
old state or the new one, never half of one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from captune.errors import OutputError
from captune.hardware import (
    device_random_states,
    is_out_of_memory,
    set_device_random_states,
)
from captune.models import Captioner
from captune.storage import fix_reading, remove_folder, write_folder
from captune.training.steps.optimizer import AveragedWeights

Engine = Literal["loop", "trainer"]

TRY_RESUME = "resume with --resume"
"""What to do after a full disk has stopped a training."""

_PREFIX = "step-"
_STATE = "state.json"
_WEIGHTS = "weights.safetensors"
_TENSORS = "state.pt"


@dataclass(slots=True)
class TrainState:
    """The progress of a run; all of it is saved.

    Attributes:
        step: Optimizer steps done.
        epoch: Epoch of the next step.
        step_in_epoch: Steps of that epoch done.
        best_value: Best validation value so far; `None` before the first validation.
        best_loss: Validation loss of that step, which decides between equal values; `None`: none.
        best_step: Step of that value.
        stale_validations: Validations since then.
        loss_sum: Loss since the last log line, summed over `loss_tokens`.
        loss_tokens: Tokens counted since the last log line.
        splits: How often every micro batch is halved, after running out of memory.
        seconds: Training time so far, over all resumes.
        num_processes: Processes that train; 0 in checkpoints of early versions: unknown.
        finished: Whether training is over.
        unvalidated: Whether the validation of this step failed, and is repeated on resuming.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_value: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    stale_validations: int = 0
    loss_sum: float = 0.0
    loss_tokens: int = 0
    splits: int = 0
    seconds: float = 0.0
    num_processes: int = 0
    finished: bool = False
    unvalidated: bool = False


_NUMBER = (int, float)
_STATE_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("step", "epoch", "step_in_epoch", "best_step", "stale_validations"), (int,)),
    **dict.fromkeys(("loss_tokens", "splits", "num_processes"), (int,)),
    **dict.fromkeys(("loss_sum", "seconds"), _NUMBER),
    **dict.fromkeys(("best_value", "best_loss"), (*_NUMBER, type(None))),
    **dict.fromkeys(("finished", "unvalidated"), (bool,)),
}


def save_checkpoint(
    folder: Path,
    state: TrainState,
    *,
    captioner: Captioner,
    optimizer: Any,
    average: AveragedWeights | None,
    keep: int,
) -> None:
    """Save a checkpoint of the loop, and remove all but the `keep` newest.

    Every process calls this, as each draws its own dropout; the main process writes.
    """
    random_states = gather_object([_rng_state(captioner.device)])
    if not PartialState().is_main_process:
        return

    def write(temporary: Path) -> None:
        save_model(captioner.model, str(temporary / _WEIGHTS))
        extra = {
            "optimizer": optimizer.state_dict(),
            "average": average.weights if average else None,
            "scaler": optimizer.scaler.state_dict() if optimizer.scaler else None,
            "rng": random_states,
        }
        torch.save(extra, temporary / _TENSORS)

    write_checkpoint(folder, state, write=write, keep=keep)


def write_checkpoint(
    folder: Path, state: TrainState, *, write: Callable[[Path], None], keep: int
) -> Path:
    """Write `folder/step-000500` atomically, and remove all but the `keep` newest.

    Args:
        folder: The run's checkpoints.
        state: The progress of the run.
        write: Fills the new folder.
        keep: Number of checkpoints kept.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """

    def write_all(temporary: Path) -> None:
        write(temporary)
        (temporary / _STATE).write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")

    path = folder / f"{_PREFIX}{state.step:06d}"
    write_folder(path, write_all, then=TRY_RESUME)
    for old in _checkpoints(folder)[:-keep]:
        remove_folder(old)
    return path


def newest_checkpoint(folder: Path, *, engine: Engine) -> Path | None:
    """Return the newest complete checkpoint; `None`: there is none.

    Raises:
        OutputError: The other engine wrote it.
    """
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return None
    # By either file: one may have been lost since.
    is_of_loop = any((checkpoints[-1] / name).exists() for name in (_WEIGHTS, _TENSORS))
    writer: Engine = "loop" if is_of_loop else "trainer"
    if writer != engine:
        raise OutputError(
            f"the training was started with train.engine: {writer} and cannot resume with {engine}",
            where=str(checkpoints[-1]),
            fix=f"resume it with --set train.engine={writer}, or start again with --force",
        )
    return checkpoints[-1]


def read_state(checkpoint: Path) -> TrainState:
    """Read the state in a checkpoint.

    Raises:
        OutputError: It cannot be read.
    """
    with reading_checkpoint(checkpoint):
        saved = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        state = TrainState(**saved)
        for name, value in asdict(state).items():
            expected = _STATE_TYPES[name]
            if not isinstance(value, expected) or (
                isinstance(value, bool) and bool not in expected
            ):
                raise ValueError(f"{name} is {value!r} in {_STATE}")
        return state


@contextmanager
def reading_checkpoint(checkpoint: Path) -> Iterator[None]:
    """Turn errors while a checkpoint is read into one that names it.

    Checkpoints are written atomically; one that cannot be read was damaged or changed afterwards.

    Raises:
        OutputError: It cannot be read, or belongs to another model.
    """
    try:
        yield
    except (
        *(OSError, EOFError, UnpicklingError, SafetensorError),
        *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    ) as error:
        if is_out_of_memory(error):
            raise
        # The first line only: the names of all weights may follow.
        reason = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, UnpicklingError):
            # torch advises to load it without its protection against foreign code.
            reason = "a file in it was not written by torch.save"
        away = "move this folder away; --resume then uses the checkpoint before it, if any"
        raise OutputError(
            f"the checkpoint cannot be read, or belongs to another model: {reason}",
            where=str(checkpoint),
            fix=fix_reading(error, damaged=away),
        ) from error


def load_checkpoint(
    folder: Path, *, captioner: Captioner, optimizer: Any, average: AveragedWeights | None
) -> TrainState | None:
    """Restore everything from the newest checkpoint; `None`: there is none.

    Raises:
        OutputError: The other engine wrote it, or it cannot be read.
    """
    newest = newest_checkpoint(folder, engine="loop")
    if newest is None:
        return None
    state = read_state(newest)
    with reading_checkpoint(newest):
        load_model(captioner.model, newest / _WEIGHTS)
        extra = torch.load(newest / _TENSORS, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(extra["optimizer"])
        if optimizer.scaler and extra["scaler"]:
            optimizer.scaler.load_state_dict(extra["scaler"])
        if average is not None and extra["average"] is not None:
            average.load(extra["average"])
        processes = PartialState()
        # Early versions saved those of one process, without a list. With another number of
        # processes there is nothing to restore: the seeds that are set stay.
        random_states = extra["rng"] if isinstance(extra["rng"], list) else [extra["rng"]]
        if len(random_states) == processes.num_processes:
            _set_rng_state(random_states[processes.process_index], captioner.device)
    return state


@contextmanager
def keeping_state(captioner: Captioner) -> Iterator[None]:
    """Restore random states and the model's buffers (running means, for example) after the block.

    Weights must not change in it.
    """
    random_states = _rng_state(captioner.device)
    buffers = [(buffer, buffer.clone()) for buffer in captioner.model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        _set_rng_state(random_states, captioner.device)


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [p for p in folder.glob(f"{_PREFIX}*") if (p / _STATE).is_file()]
    # From a million steps on, names are longer than their zero padding.
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _rng_state(device: torch.device) -> dict[str, Any]:
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "python": (version, list(words), gauss),
        "numpy": (
            name,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            cached,
        ),
        "devices": device_random_states(device),
    }


def _set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    # Older checkpoints have no states of devices, which then keep their seed.
    set_device_random_states(state.get("devices", {}), device)
