"""From a recipe to a report: prepare, baseline, train, evaluate, report.

Every stage starts from files on disk, so any of them can be run alone or again. With several
processes, the first runs all stages, and the others join it to train and to caption.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from captune.data import load_splits
from captune.errors import OutputError
from captune.pipeline.environment import describe_environment
from captune.pipeline.plan import Plan, RunOptions, plan_run, run_folder
from captune.pipeline.processes import Crew, gather_crew
from captune.pipeline.resume import check_resumed, note_inputs, refuse_other_settings
from captune.pipeline.stage_record import StageBook
from captune.pipeline.stages import SHARED_WORK, STAGE_WORK, Job, scored_records
from captune.progress import Say, print_line
from captune.recipe import Recipe, load_recipe, save_recipe
from captune.storage import lock_folder, open_folder, write_json
from captune.training import ProcessError


def run(
    recipe: Recipe | str | Path,
    *,
    only: Sequence[str] = (),
    out: str | Path | None = None,
    options: RunOptions | None = None,
    say: Say = print_line,
) -> Path:
    """Run a recipe's stages and return the run's folder.

    Args:
        recipe: A recipe, a shipped name, or a YAML file.
        only: Names of the stages to run; empty: all. Finished ones are still skipped.
        out: The run's folder; `None`: runs/NAME.
        options: Whether to resume, to start from a stage, or to start again.
        say: Called with each progress message.

    Raises:
        CaptuneError: A recipe, data set, model or folder that cannot be used.
    """
    options = options or RunOptions()
    crew = gather_crew()
    with crew.working():
        if not crew.leads:
            return _follow(crew, recipe, out=out, options=options)
        if not isinstance(recipe, Recipe):
            recipe = load_recipe(recipe)
        with lock_folder(run_folder(recipe, out)):
            return _lead(recipe, crew, only=only, out=out, options=options, say=say)


def _lead(
    recipe: Recipe,
    crew: Crew,
    *,
    only: Sequence[str],
    out: str | Path | None,
    options: RunOptions,
    say: Say,
) -> Path:
    """Run every stage as the first process, while no other run writes the folder."""
    plan = plan_run(recipe, only=only, out=out, options=options)
    _refuse_interrupted(plan, options)
    open_folder(plan.folder)
    save_recipe(plan.recipe, plan.folder / "recipe.yaml")
    _save_environment(plan)
    for name in plan.stages:
        _warn_of_changes(name, plan, say=say)
        if name in plan.due:
            _run_stage(name, plan, crew=crew, options=options, say=say)
        else:
            say(f"{name}: already done, skipped")
    return plan.folder


def _follow(
    crew: Crew, recipe: Recipe | str | Path, *, out: str | Path | None, options: RunOptions
) -> Path:
    """Do this process's share of the shared stages, in a process that is not the first."""
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    folder = run_folder(recipe, out)
    job = Job(recipe, folder, resume=options.resume, say=lambda _: None, team=crew.team)
    while (stage := crew.hear(recipe)) is not None:
        _require_shared(folder)
        SHARED_WORK[stage](job)
    return folder


def _require_shared(folder: Path) -> None:
    """Require that this process sees the folder of the first one, which may be on another machine.

    Raises:
        ProcessError: It does not.
    """
    if not (folder / "splits.json").is_file():
        raise ProcessError(
            f"this process, on {socket.gethostname()}, does not see the run's folder that the first"
            " process has filled",
            where=str(folder.absolute()),
            fix="give --out on a disk that all machines share under the same name, and keep the"
            " images there too",
        )


def _save_environment(plan: Plan) -> None:
    """Save a description of this machine and command, unless only the report is due.

    A report rebuilt elsewhere shows the machine that trained and scored, not the one that drew it.
    """
    path = plan.folder / "environment.json"
    if set(plan.due) <= {"report"} and path.exists():
        return
    write_json(path, {fact.label: fact.value for fact in describe_environment(plan.recipe)})


def _run_stage(name: str, plan: Plan, *, crew: Crew, options: RunOptions, say: Say) -> None:
    book, folder = plan.book, plan.folder
    resumes = name == "train" and options.resume and _is_interrupted(book, folder)
    if resumes:
        for warning in check_resumed(plan.recipe, folder):
            say(warning)
    else:
        _clear_outputs(name, book, options=options, say=say)
    say(f"{name}: started")
    started = time.monotonic()
    if name == "train":
        if "evaluate" in plan.stages:
            # Checked only by the baseline, if there is one; else scoring would fail after hours.
            scored_records(plan.recipe, load_splits(folder))
        if not resumes:
            note_inputs(plan.recipe, folder)
    if name in SHARED_WORK and (name != "baseline" or plan.recipe.evaluate.baseline):
        crew.call(name, plan.recipe)
    job = Job(plan.recipe, folder, resume=options.resume, say=say, team=crew.team)
    STAGE_WORK[name](job)
    book.mark_done(name, time.monotonic() - started)
    say(f"{name}: done in {book.seconds(name):.0f} s")


def _warn_of_changes(name: str, plan: Plan, *, say: Say) -> None:
    """Warn of `--only` on files that earlier stages wrote with other settings or data."""
    for other in plan.book.changed_inputs(name):
        say(
            f"warning: {name} builds on {other}, which ran here with other settings or data;"
            f" captune run RECIPE --from {other} runs both"
        )


def _refuse_interrupted(plan: Plan, options: RunOptions) -> None:
    """Refuse a recipe that cannot resume the folder's interrupted training, before any change.

    Raises:
        OutputError: It is not resumed, or began with other settings.
    """
    if "train" not in plan.due or not _is_interrupted(plan.book, plan.folder):
        return
    if options.resume:
        refuse_other_settings(plan.recipe, plan.folder)
    elif not options.force:
        raise OutputError(
            "this training was interrupted",
            where=str(plan.folder / "checkpoints"),
            fix="add --resume to continue from the newest checkpoint, or --force to start again",
        )


def _is_interrupted(book: StageBook, folder: Path) -> bool:
    has_checkpoint = any((folder / "checkpoints").glob("step-*"))
    return has_checkpoint and not book.ran_before("train")


def _clear_outputs(name: str, book: StageBook, *, options: RunOptions, say: Say) -> None:
    if options.force:
        book.discard(name)
        return
    place = book.clear(name)
    if place is not None:
        say(f"{name}: its earlier files are kept in {place}")
