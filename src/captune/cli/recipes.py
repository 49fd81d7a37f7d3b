"""`captune recipes`: list or print the shipped recipes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from captune.progress import open_console, print_lines
from captune.storage import read_marked_text


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A shipped recipe or a YAML file; default: list them.")
    ] = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Print every setting, with its meaning and range.")
    ] = False,
) -> None:
    """List the shipped recipes, or print one: `captune recipes demo > my-recipe.yaml`."""
    from captune.recipe import dump_recipe, load_recipe, recipe_path

    if name is None:
        _print_list()
        return
    # Checked in both cases, so that every printed recipe can be run.
    recipe = load_recipe(name)
    text = dump_recipe(recipe) if full else read_marked_text(recipe_path(name))
    if sys.stdout.isatty():
        print_lines(text.removesuffix("\n"))
    else:
        # A file gets the recipe unchanged, in the encoding in which recipes are read.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write(text)


def _print_list() -> None:
    from rich.table import Table

    from captune.recipe import load_recipe, shipped_recipes

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it does")
    for name in shipped_recipes():
        table.add_row(name, load_recipe(name).description)
    console = open_console()
    console.print(table)
    console.print("\nPrint one: captune recipes NAME [--full]    Run one: captune run NAME")
