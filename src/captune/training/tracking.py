"""Where a run tells how it goes: log.jsonl, trackers, and a progress bar."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from captune.errors import MissingExtraError
from captune.recipe import Recipe
from captune.storage import json_line, write_text


def check_trackers(names: Sequence[str]) -> None:
    """Stops before any work when a tracker is not installed.

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
    """How W&B and trackio call a run, and the settings they show beside its curves.

    TensorBoard needs none of it: it shows folders.
    """
    shown = {"name": run_folder.name, "config": recipe.model_dump(mode="json")}
    # By itself W&B makes a folder where the command was typed.
    return {"wandb": {**shown, "dir": str(run_folder)}, "trackio": shown}


@dataclass(slots=True)
class RunLog:
    """log.jsonl: one JSON object a line, by optimizer step.

    Attributes:
        path: The file.
        accelerator: Passes numbers on to TensorBoard and the like; `None`: nowhere.
    """

    path: Path
    accelerator: Any = None

    def write(self, row: Mapping[str, float | int | str]) -> None:
        """Append a line and pass its numbers to the trackers.

        NaN and infinities, as of the gradients of an fp16 step that is skipped, become null: JSON
        has neither.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(row))
        if self.accelerator is not None:
            numbers = {k: v for k, v in row.items() if k not in ("step", "event", "epoch")}
            self.accelerator.log(numbers, step=int(row["step"]))

    def show(self, name: str, image: Image.Image, *, step: int) -> None:
        """Passes a picture on to the trackers that take pictures."""
        for tracker in self._picture_trackers():
            if tracker.name == "tensorboard":
                tracker.log_images({name: np.asarray(image)[None]}, step, dataformats="NHWC")
            else:
                tracker.log_images({name: [image]}, step)

    @property
    def takes_pictures(self) -> bool:
        """Whether any tracker does."""
        return bool(self._picture_trackers())

    def _picture_trackers(self) -> list[Any]:
        trackers = [] if self.accelerator is None else self.accelerator.trackers
        return [tracker for tracker in trackers if hasattr(tracker, "log_images")]

    def rewind(self, step: int) -> None:
        """Drops the lines after `step`, which a resumed run writes again."""
        if self.path.is_file():
            kept = [row for row in read_log(self.path) if int(row["step"]) <= step]
            write_text(self.path, "".join(map(json_line, kept)))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log.jsonl; a last line cut by a kill is dropped."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


@dataclass(slots=True)
class ProgressLine:
    """One rich progress bar over optimizer steps."""

    progress: Progress
    task: Any = field(default=None)

    def advance(self, step: int, *, loss: float | None, images_per_second: float) -> None:
        """Moves the bar to `step`."""
        text = f"{images_per_second:.1f} images/s"
        if loss is not None:
            text = f"loss {loss:.3f}  {text}"
        self.progress.update(self.task, completed=step, status=text)


@contextmanager
def progress_line(total_steps: int, *, done: int, enabled: bool) -> Iterator[ProgressLine]:
    """A progress bar with loss, images a second and the time that remains."""
    # On a narrow screen the bar gives way, not the figures.
    columns = (
        TextColumn("training"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, disable=not enabled) as progress:
        task = progress.add_task("training", total=total_steps, completed=done, status="")
        yield ProgressLine(progress, task)
