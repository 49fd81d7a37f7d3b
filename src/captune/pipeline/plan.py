"""What a run's arguments come to: which stages, where, and which of them are due.

A run and a dry run start here, so that one can never announce what the other would not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.errors import MetricError, RecipeError
from captune.evaluation import ScoringOptions
from captune.hardware import choose_hardware
from captune.models import check_sources
from captune.pipeline.stage_record import StageBook, select_stages
from captune.recipe import Recipe, load_recipe
from captune.training import check_best_metric, check_engine, check_trackers


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


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that can begin.

    Attributes:
        recipe: Every setting.
        folder: The run's folder; need not exist.
        book: What was done there.
        stages: The stages asked for, in their order.
        due: Those of them that will run; the others are done.
    """

    recipe: Recipe
    folder: Path
    book: StageBook
    stages: tuple[str, ...]
    due: tuple[str, ...]


def plan_run(
    recipe: Recipe | str | Path,
    *,
    only: Sequence[str],
    out: str | Path | None,
    options: RunOptions,
) -> Plan:
    """Finds what would run, and what cannot; nothing is written.

    Args:
        recipe: A recipe, a shipped name, or a YAML file.
        only: Names of the stages to run; empty: all.
        out: The run's folder; `None`: runs/NAME.
        options: Starting from a stage, and starting again.

    Raises:
        CaptuneError: A recipe, stage, metric, model or device that cannot be used.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    stages = select_stages(only, options.start_from)
    _check_before_work(recipe)
    folder = run_folder(recipe, out)
    book = StageBook(folder, recipe)
    _check_order(stages, book)
    again = options.force or options.start_from is not None
    due: list[str] = []
    for name in stages:
        if again or not book.is_done(name) or book.takes_results_of(name, due):
            due.append(name)
    return Plan(recipe, folder, book, stages, tuple(due))


def run_folder(recipe: Recipe, out: str | Path | None) -> Path:
    """The run's folder: the one given, or runs/NAME."""
    return Path(out) if out else Path("runs") / recipe.name


def _check_before_work(recipe: Recipe) -> None:
    """Finds what would fail late: devices, metrics and models are looked up before any work.

    Raises:
        ModelError: A model's size is unknown, or its folder cannot be one.
        RecipeError: The device or precision is not available.
        MetricError: A metric is unknown, or lacks its checkpoint.
        MissingExtraError: A tracker, or what a metric needs, is not installed.
    """
    choose_hardware(recipe.train.device, recipe.train.precision)
    check_engine(recipe.train)
    try:
        ScoringOptions.from_recipe(recipe).check_metrics()
    except MetricError as error:
        where = error.where or "evaluate.metrics"
        raise MetricError(error.what, where=where, fix=error.fix) from error
    check_best_metric(recipe)
    check_trackers(recipe.train.trackers)
    check_sources(recipe.model)


def _check_order(stages: Sequence[str], book: StageBook) -> None:
    """Finds a stage that builds on one that never ran.

    Raises:
        RecipeError: Names the stage to run first.
    """
    for name in stages:
        missing = [other for other in book.missing_inputs(name) if other not in stages]
        if missing:
            raise RecipeError(
                f"stage {name} needs {' and '.join(missing)}, not run here yet",
                where="--only / --from",
                fix=f"run it first: captune run RECIPE --only {missing[0]}",
            )
