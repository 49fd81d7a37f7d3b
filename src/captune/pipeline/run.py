"""From a recipe to a report: prepare, baseline, train, evaluate, report.

Every stage starts from what lies on disk, so any of them can be run alone or again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.errors import OutputError, RecipeError
from captune.evaluation import ScoringOptions
from captune.files import write_json
from captune.models import check_sources
from captune.models.devices import choose_hardware
from captune.pipeline import work
from captune.pipeline.environment import describe_environment
from captune.pipeline.stages import StageBook, select_stages
from captune.recipe import Recipe, load_recipe, save_recipe
from captune.training import check_best_metric, check_engine, check_trackers

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a recipe is run.

    Attributes:
        start_from: Run this stage and all behind it, also when they are done.
        resume: Go on with an interrupted training from its newest checkpoint.
        force: Delete what changed stages wrote, instead of moving it to previous/.
    """

    start_from: str | None = None
    resume: bool = False
    force: bool = False


def run(
    recipe: Recipe | str | Path,
    *,
    only: Sequence[str] = (),
    out: str | Path | None = None,
    options: RunOptions | None = None,
    say: Say = print,
) -> Path:
    """Runs a recipe's stages and returns the run's folder.

    Args:
        recipe: A recipe, a shipped name, or a YAML file.
        only: Names of the stages to run; empty: all. Finished ones are skipped all the same.
        out: The run's folder; `None`: runs/NAME.
        options: Resuming, starting from a stage, and starting again.
        say: Takes lines for people.

    Raises:
        CaptuneError: A recipe, data set, model or folder that cannot be used.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    options = options or RunOptions()
    stages = select_stages(only, options.start_from)
    check_before_work(recipe)
    folder = _open_folder(Path(out) if out else Path("runs") / recipe.name)
    book = StageBook(folder, recipe)
    check_order(stages, book)
    save_recipe(recipe, folder / "recipe.yaml")
    environment = {fact.label: fact.value for fact in describe_environment(recipe)}
    write_json(folder / "environment.json", environment)
    for name in stages:
        _run_stage(name, recipe, folder, book=book, options=options, say=say)
    return folder


def check_before_work(recipe: Recipe) -> None:
    """Finds what would fail late: devices, metrics and models are looked up before any work.

    Raises:
        ModelError: A model's size is unknown, or its folder cannot be one.
        RecipeError: The device or precision is not available.
        MetricError: A metric is unknown, or lacks its checkpoint.
        MissingExtraError: A tracker, or what a metric needs, is not installed.
    """
    choose_hardware(recipe.train.device, recipe.train.precision)
    check_engine(recipe.train)
    ScoringOptions.from_recipe(recipe).check_metrics()
    check_best_metric(recipe)
    check_trackers(recipe.train.trackers)
    check_sources(recipe.model)


def _open_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error.strerror or str(error)) from error
    if not os.access(folder, os.W_OK):
        raise _not_writable(folder, "permission denied")
    return folder


def _not_writable(folder: Path, reason: str) -> OutputError:
    return OutputError(
        f"cannot write to the run's folder {str(folder)!r}: {reason}",
        where="--out",
        fix="choose another folder with --out",
    )


def check_order(stages: Sequence[str], book: StageBook) -> None:
    """Finds a stage that builds on one that never ran.

    Raises:
        RecipeError: Names the stage to run first.
    """
    for name in stages:
        missing = [other for other in book.missing_inputs(name) if other not in stages]
        if missing:
            raise RecipeError(
                f"stage {name} needs {' and '.join(missing)}, which has not run here yet",
                where="--only / --from",
                fix=f"run it first: captune run RECIPE --only {missing[0]}",
            )


def _run_stage(
    name: str, recipe: Recipe, folder: Path, *, book: StageBook, options: RunOptions, say: Say
) -> None:
    if book.is_done(name) and options.start_from is None and not options.force:
        say(f"{name}: done before, skipped")
        return
    interrupted = name == "train" and not book.ran_before(name) and _has_checkpoint(folder)
    if interrupted and not options.resume and not options.force:
        raise OutputError(
            "this training was interrupted before it ended",
            where=str(folder / "checkpoints"),
            fix="add --resume to go on from the newest checkpoint, or --force to start again",
        )
    if not (interrupted and options.resume):
        _make_room(name, book, options=options, say=say)
    say(f"{name}: started")
    started = time.monotonic()
    work.WORK[name](work.Job(recipe, folder, resume=options.resume, say=say))
    book.mark_done(name, time.monotonic() - started)
    say(f"{name}: done in {book.seconds(name):.0f} s")


def _has_checkpoint(folder: Path) -> bool:
    return any((folder / "checkpoints").glob("step-*"))


def _make_room(name: str, book: StageBook, *, options: RunOptions, say: Say) -> None:
    if options.force:
        book.discard(name)
        return
    place = book.clear(name)
    if place is not None:
        say(f"{name}: its inputs changed; what it wrote before is kept in {place}")
