"""The checkpoint from which a training by Trainer resumes, and the errors of a damaged one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from captune.storage import recover_folder
from captune.training.checkpoint import newest_checkpoint, read_state, reading_checkpoint
from captune.training.run_state import RunState

AVERAGE = "average.pt"
"""File of the averaged weights."""


def find_checkpoint(run_state: RunState) -> Path | None:
    """Return the checkpoint to resume from; load its state and averaged weights."""
    recover_folder(run_state.folder / "model")
    checkpoint = newest_checkpoint(run_state.folder / "checkpoints", engine="trainer")
    if checkpoint is None:
        run_state.say("no checkpoint to resume from: training starts at step 0")
        return None
    run_state.resume_from(read_state(checkpoint))
    with reading_checkpoint(checkpoint):
        TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        average = checkpoint / AVERAGE
        if run_state.average is not None and average.is_file():
            run_state.average.load(torch.load(average, map_location="cpu", weights_only=True))
    return checkpoint


def reading(checkpoint: str | None) -> AbstractContextManager[None]:
    """Return the context that explains a damaged checkpoint; without one, it does nothing."""
    return nullcontext() if checkpoint is None else reading_checkpoint(Path(checkpoint))
