"""Records of a run's numbers and pictures: log.jsonl and trackers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captune.errors import MissingExtraError
from captune.recipe import Recipe
from captune.storage import append_jsonl, intact_json_objects, write_jsonl


def check_trackers(names: Sequence[str]) -> None:
    """Stop before any work if a tracker is not installed.

    Raises:
        MissingExtraError: `wandb` or `trackio` without the extra.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(
                f"tracker {name!r} is not installed",
                where="train.trackers",
                fix='pip install "captune[track]"',
            )


def tracker_settings(recipe: Recipe, run_folder: Path) -> dict[str, dict[str, Any]]:
    """Return the run's name for W&B and trackio, and the settings they show beside its curves.

    TensorBoard needs neither: it shows folders.
    """
    shown = {"name": run_folder.name, "config": recipe.model_dump(mode="json")}
    # By default W&B creates a folder in the working directory.
    return {"wandb": {**shown, "dir": str(run_folder)}, "trackio": shown}


@dataclass(slots=True)
class RunLog:
    """log.jsonl: one JSON object per line, by optimizer step.

    Attributes:
        path: The file.
        accelerator: Passes numbers to TensorBoard and other trackers; `None`: no trackers.
    """

    path: Path
    accelerator: Any = None

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Append a line and pass its numbers to the trackers.

        NaN and infinities, such as gradients of a skipped fp16 step, become null: JSON has
        neither.
        """
        append_jsonl(self.path, row, then="resume with --resume")
        if self.accelerator is not None:
            numbers = {k: v for k, v in row.items() if k not in ("step", "event", "epoch")}
            self.accelerator.log(numbers, step=int(row["step"]))

    def show(self, name: str, image: Image.Image, *, step: int) -> None:
        """Pass a picture to the trackers that show pictures."""
        for tracker in self._picture_trackers():
            if tracker.name == "tensorboard":
                tracker.log_images({name: np.asarray(image)[None]}, step, dataformats="NHWC")
            else:
                tracker.log_images({name: [image]}, step)

    @property
    def takes_pictures(self) -> bool:
        """Whether any tracker shows pictures."""
        return bool(self._picture_trackers())

    def _picture_trackers(self) -> list[Any]:
        trackers = [] if self.accelerator is None else self.accelerator.trackers
        return [tracker for tracker in trackers if hasattr(tracker, "log_images")]

    def rewind(self, step: int) -> None:
        """Remove the lines after `step`, which a resumed run writes again."""
        if self.path.is_file():
            kept = [row for row in read_log(self.path) if int(row["step"]) <= step]
            write_jsonl(self.path, kept)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a log.jsonl; incomplete lines and lines without a step are skipped."""
    rows = intact_json_objects(path.read_text(encoding="utf-8", errors="replace"))
    return [row for row in rows if type(row.get("step")) is int]
