"""The plan of a run: which stages, in which folder, and which of them are due.

A run and a dry run both start here, so a dry run reports exactly what a run would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.data import check_place, load_options
from captune.errors import OutputError, RecipeError, located
from captune.evaluation import ScoringOptions
from captune.hardware import choose_hardware
from captune.models import check_sources
from captune.pipeline.folder_state import RECORD
from captune.pipeline.stage_record import StageBook, select_stages
from captune.recipe import Recipe, is_dump, load_recipe
from captune.storage import expand_home, require_utf8
from captune.training import check_best_metric, check_engine, check_trackers


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run.

    Attributes:
        start_from: Run this stage and all after it, even if they are done.
        resume: Resume an interrupted training from its newest checkpoint.
        force: Delete the files of changed stages, instead of moving them to previous/.
    """

    start_from: str | None = None
    resume: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked plan of a run.

    Attributes:
        recipe: Every setting.
        folder: The run's folder; it may not exist yet.
        book: The record of finished stages there.
        stages: The requested stages, in order.
        due: The stages that will run; the others are done.
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
    """Plan a run and check that it can work; writes nothing.

    Args:
        recipe: A recipe, a shipped name, or a YAML file.
        only: Names of the stages to run; empty: all.
        out: The run's folder; `None`: runs/NAME.
        options: Whether to resume, to start from a stage, or to start again.

    Raises:
        CaptuneError: A recipe, stage, metric, model or device that cannot be used.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    stages = select_stages(only, options.start_from)
    _check_before_work(recipe)
    folder = run_folder(recipe, out)
    require_utf8(folder, where="the run's folder")
    _refuse_own_recipe(folder)
    book = StageBook(folder, recipe)
    _check_order(stages, book)
    again = options.force or options.start_from is not None
    due: list[str] = []
    for name in stages:
        if again or not book.is_done(name) or book.depends_on_due(name, due):
            due.append(name)
    if "prepare" in due:
        # Before the run's earlier files move to previous/.
        check_place(recipe.data.path, load_options(recipe.data))
    return Plan(recipe, folder, book, stages, tuple(due))


def run_folder(recipe: Recipe, out: str | Path | None) -> Path:
    """Return the run's folder: the given one, or runs/NAME."""
    return expand_home(out) if out else Path("runs") / recipe.name


def _refuse_own_recipe(folder: Path) -> None:
    """Refuse a folder whose recipe.yaml the user wrote: the run's own would replace it.

    Raises:
        OutputError: There is one.
    """
    path = folder / "recipe.yaml"
    if path.is_file() and not (folder / RECORD).exists() and not is_dump(path):
        raise OutputError(
            f"{path} was not written by a run, and a run there would overwrite it",
            where=f"the run's folder, {folder}",
            fix="choose another folder with --out, or rename the file",
        )


def _check_before_work(recipe: Recipe) -> None:
    """Raise early for what would fail late: devices, metrics and models that do not exist.

    Raises:
        ModelError: A model's size is unknown, or its folder is not a model's.
        RecipeError: The device or precision is not available.
        MetricError: A metric is unknown, or lacks its checkpoint.
        MissingExtraError: A tracker, or what a metric needs, is not installed.
    """
    choose_hardware(recipe.train.device, recipe.train.precision)
    check_engine(recipe.train)
    with located("evaluate.metrics"):
        ScoringOptions.from_recipe(recipe).check_metrics()
    check_best_metric(recipe)
    check_trackers(recipe.train.trackers)
    check_sources(recipe.model)


def _check_order(stages: Sequence[str], book: StageBook) -> None:
    """Raise for a stage that builds on one that never ran.

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
