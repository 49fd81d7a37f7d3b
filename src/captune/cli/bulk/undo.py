"""`captune undo`: restore what a bulk run changed."""

from __future__ import annotations

from typing import Annotated

import typer

from captune.cli.app import FINISHED_WITH_FAILURES
from captune.progress import print_line
from captune.suggest import format_count


def undo(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The id that the run printed, its output file or its folder."
        ),
    ],
) -> None:
    """Restore the files that a run of `captune caption` changed.

    Files that were edited since are kept and listed, as are folders on a disk that is not
    connected; the exit code is then 3.
    """
    from captune.bulk import undo_run

    result = undo_run(run)
    restored = format_count(result.num_restored, "file is", plural="files are")
    print_line(f"{restored} as before the run {result.run_id}")
    for text in result.kept:
        print_line(f"  kept, edited since:  {text}")
    for text in result.absent:
        print_line(f"  not there:  {text} (undo again once its disk is connected)")
    if result.kept or result.absent:
        raise typer.Exit(FINISHED_WITH_FAILURES)
