"""Arguments and results of a script with a CaptionTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Seq2SeqTrainingArguments,
)

from captune.training import CaptionTrainer


def arguments(folder: Path, **settings: Any) -> Seq2SeqTrainingArguments:
    """Return arguments of a short, silent training on the CPU."""
    usual = {
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
    }
    return Seq2SeqTrainingArguments(output_dir=str(folder), **{**usual, **settings})


def history(trainer: CaptionTrainer, name: str) -> list[float]:
    """Return the logged values of one name, in order."""
    return [row[name] for row in trainer.state.log_history if name in row]
