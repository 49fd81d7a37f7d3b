"""`captune models`: the families that can be loaded, and the sizes that can be created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from captune.progress import open_console

if TYPE_CHECKING:
    from rich.table import Table


def models(
    *,
    vocab_size: Annotated[
        int,
        typer.Option(
            min=64, max=1_000_000, help="Number of tokens assumed for the parameter counts."
        ),
    ] = 30_522,
) -> None:
    """List the model families and the named sizes of `captune init` and `model.size`."""
    console = open_console()
    console.print(_families())
    console.print(f"\nNamed sizes; parameters with a vocabulary of {vocab_size:,} tokens:\n")
    console.print(_sizes(vocab_size))


def _families() -> Table:
    from captune.models import ABOUT_FAMILIES

    table = _table("family", "models")
    for name, about in ABOUT_FAMILIES.items():
        table.add_row(name, about)
    return table


def _sizes(vocab_size: int) -> Table:
    from captune.models import SIZES

    table = _table("size", "parameters", "image", "description")
    for name, size in SIZES.items():
        count = size.num_parameters(vocab_size)
        side = size.vision["image_size"]
        table.add_row(name, f"{count / 1e6:.1f} M", f"{side} px", size.about)
    return table


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
