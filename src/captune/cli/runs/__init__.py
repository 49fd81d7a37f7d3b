"""`captune runs`: a table of all runs, and one page that compares any two of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from captune.cli.scoring.table import TableFlag
from captune.progress import print_line, print_lines
from captune.suggest import format_count

if TYPE_CHECKING:
    from captune.runs import SavedRun

_PAGE = "runs.html"


def runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folders of runs, or runs. Default: runs.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Page to write.", show_default=f"{_PAGE} in the first folder"),
    ] = None,
    table: TableFlag = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that is not such a page.")
    ] = False,
) -> None:
    """List all runs, and write one page that compares any two of them.

    Unfinished and damaged runs are listed with their state. With --table, no page is written
    unless --out asks for one.
    """
    from captune.evaluation import render_table
    from captune.runs import list_runs, search_runs, write_runs_page

    places = folders or [Path("runs")]
    page = out or (None if table else places[0] / _PAGE)
    found = search_runs(places)
    where = ", ".join(map(str, places))
    if not found:
        print_line(f"no runs in {where}; captune demo makes one", to_stderr=True)
        return
    if page is not None:
        _check_place(page, places, force=force)
    if table is None:
        print_lines(_fit_terminal(found))
    else:
        print_lines(render_table(list_runs(found, for_programs=table == "csv"), table))
    if page is not None:
        write_runs_page(page, found, title=where)
        print_line(f"page: {page} ({format_count(len(found), 'run')})", to_stderr=table is not None)


def _fit_terminal(found: Sequence[SavedRun]) -> str:
    """Return the table of runs, a brief one if the terminal would break its rows."""
    from captune.evaluation import render_table
    from captune.runs import list_runs, list_runs_briefly

    listed = list_runs(found)
    rows = render_table(replace(listed, note=""), "plain").split("\n")
    if sys.stdout.isatty() and max(map(len, rows)) > shutil.get_terminal_size().columns:
        listed = list_runs_briefly(found)
    return render_table(listed, "plain")


def _check_place(page: Path, places: Sequence[Path], *, force: bool) -> None:
    """Refuse to overwrite a file that this command did not write.

    Raises:
        OutputError: There is another file or a folder.
    """
    from captune.runs import is_runs_page
    from captune.storage import check_files

    check_files(page, inputs=places, force=force or is_runs_page(page))
