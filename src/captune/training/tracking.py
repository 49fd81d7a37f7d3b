"""Records of a run's numbers and pictures: log.jsonl and trackers.

Trackers group curves by the part of a name before the slash: `train/loss`, `val/cider`,
`test/cider`. log.jsonl keeps its keys: `loss`, `val_cider`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captune.errors import MissingExtraError
from captune.recipe import Recipe, dump_recipe, flat_settings
from captune.storage import append_jsonl, intact_json_objects, write_jsonl
from captune.text_safety import clean_text

_COMPARED = ("val/cider", "val/loss", "test/cider")
"""Curves whose last values TensorBoard lists beside the hyper-parameters."""

_TEST_FILE = ".scores"
"""End of the name of the events with the scores of the trained model."""


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


def show_settings(accelerator: Any, recipe: Recipe) -> None:
    """Show the recipe in TensorBoard: as text, and its settings among the hyper-parameters.

    Both go into the run's own file of events; TensorBoard's `add_hparams` would create another run.
    """
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            from torch.utils.tensorboard.summary import hparams

            curves = dict.fromkeys(_COMPARED, 0.0)
            for summary in hparams(_parameters(recipe), curves):
                tracker.writer.file_writer.add_summary(summary)
            tracker.writer.add_text("recipe", f"```yaml\n{dump_recipe(recipe)}\n```", 0)


def log_test_scores(
    recipe: Recipe, run_folder: Path, *, scores: Mapping[int, Mapping[str, float]], split: str
) -> None:
    """Add the scores of a finished run to its TensorBoard, as `test/cider`, if it has one.

    Other trackers have closed their run by now.

    Args:
        recipe: Names the trackers and the run.
        run_folder: The run's folder.
        scores: Optimizer step of a model -> its scores.
        split: The scored split. `test` names the curves; others get `scored_val/cider`, since
            `val/cider` is the curve of validation.
    """
    if "tensorboard" not in recipe.train.trackers:
        return
    from torch.utils.tensorboard import SummaryWriter

    folder = run_folder / "tensorboard" / recipe.name
    for old in folder.glob(f"events.*{_TEST_FILE}"):
        # Scores replace those of an earlier evaluation.
        old.unlink()
    group = split if split == "test" else f"scored_{split}"
    with SummaryWriter(str(folder), filename_suffix=_TEST_FILE) as writer:
        for step, values in scores.items():
            for name, value in values.items():
                writer.add_scalar(f"{group}/{name}", value, step)


def _curve(key: str) -> str:
    """Return a tracker's name for a key of log.jsonl: `val_cider` is `val/cider`."""
    name = key.removeprefix("val_")
    return f"train/{key}" if name == key else f"val/{name}"


def _parameters(recipe: Recipe) -> dict[str, bool | int | float | str]:
    """Return the settings as TensorBoard takes them: lists and null as text, and text as UTF-8."""
    return {
        key: value if isinstance(value, bool | int | float) else _as_text(value)
        for key, value in flat_settings(recipe).items()
    }


def _as_text(value: object) -> str:
    # The path of a data set may hold bytes that are not UTF-8.
    return clean_text(value) if isinstance(value, str) else json.dumps(value)


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
            numbers = {
                _curve(key): value
                for key, value in row.items()
                if key not in ("step", "event", "epoch")
            }
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
