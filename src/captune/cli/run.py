"""`captune run`, `train` and `demo`: a recipe's stages in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captune.cli.app import stopping, this_command
from captune.cli.flags.memory import parse_memory
from captune.cli.flags.name_lists import split_names
from captune.errors import RecipeError
from captune.progress import print_line
from captune.suggest import quote_words

if TYPE_CHECKING:
    from captune.pipeline import RunOptions
    from captune.recipe import Recipe

_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: --set train.epochs=5"),
]
_Out = Annotated[Path | None, typer.Option(help="The run's folder; default: runs/NAME.")]
_Resume = Annotated[bool, typer.Option("--resume", help="Resume a run where it was stopped.")]
_Force = Annotated[bool, typer.Option("--force", help="Overwrite the results of another run.")]


def run(
    recipe: Annotated[str, typer.Argument(help="A shipped name (captune recipes) or a YAML file.")],
    *,
    overrides: _Set = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Run only this stage; repeat it, or write a,b."),
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all after it.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Estimate steps, time and memory without running."),
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --dry-run: propose batch size and checkpointing for this memory: 24GB.",
        ),
    ] = None,
    out: _Out = None,
    resume: _Resume = False,
    force: _Force = False,
) -> None:
    """Run a recipe: read the data, train, evaluate before and after, write the report."""
    settings = _load(recipe, overrides)
    stages = [stage for text in only or () for stage in split_names(text)]
    limit = None if memory is None else parse_memory(memory)
    if limit is not None and not dry_run:
        raise RecipeError("--memory has no effect by itself", fix="add --dry-run")

    if dry_run:
        # Read by torch when it is imported: measuring memory makes it print a line of its own.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from captune.pipeline import RunOptions
    from captune.pipeline import dry_run as estimate_run

    options = RunOptions(start_from=start_from, resume=resume, force=force)
    if dry_run:
        estimate_run(settings, only=stages, out=out, options=options, memory=limit, say=_say)
        return
    _print_results(_execute(settings, stages, out=out, options=options))


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped name (captune recipes) or a YAML file.")],
    *,
    overrides: _Set = None,
    out: _Out = None,
    resume: _Resume = False,
    force: _Force = False,
) -> None:
    """Run a recipe up to the trained model."""
    settings = _load(recipe, overrides)

    from captune.pipeline import STAGES, RunOptions

    stages = STAGES[: STAGES.index("train") + 1]
    options = RunOptions(resume=resume, force=force)
    _print_results(_execute(settings, stages, out=out, options=options))


def demo(
    *,
    overrides: _Set = None,
    out: _Out = None,
    resume: _Resume = False,
    force: _Force = False,
) -> None:
    """Draw the built-in data set, train a tiny BLIP on it, evaluate it and write the report."""
    settings = _load("demo", overrides)

    from captune.pipeline import RunOptions

    options = RunOptions(resume=resume, force=force)
    folder = _execute(settings, (), out=out, options=options)
    _print_results(folder)
    _say("try next:")
    # Pictures of the test scenes, unless the report itself holds all of them.
    scenes = folder / "report_files"
    images = [str(scenes), "--limit", "5"] if scenes.is_dir() else ["PICTURE.png"]
    _say(f"  {quote_words('captune', 'caption', str(folder / 'model'), *images)}")
    _say("  captune recipes")
    _say("  captune data check YOUR-DATA")


def _load(source: str, overrides: list[str] | None) -> Recipe:
    from captune.recipe import load_recipe

    return load_recipe(source, overrides or ())


def _execute(
    recipe: Recipe, stages: Sequence[str], *, out: Path | None, options: RunOptions
) -> Path:
    from captune.pipeline import run as run_recipe

    with stopping(_resume_line):
        return run_recipe(recipe, only=stages, out=out, options=options, say=_say)


def _resume_line() -> str:
    """Return the command that resumes the run; empty in all processes but the first."""
    from captune.pipeline import is_first_process

    if not is_first_process():
        return ""
    return f"resume with: {this_command('--resume')}"


def _print_results(folder: Path) -> None:
    """Name the one thing to open next: the report, which links to everything else."""
    for name, about in (("report.html", "report:"), ("model", "model:")):
        if (folder / name).exists():
            _say(f"{about} {folder / name}")
            return


def _say(line: str) -> None:
    """Print a line once, however many processes run the recipe."""
    from captune.pipeline import is_first_process

    if is_first_process():
        print_line(line)
