"""`captune merge`: join the files of the shares of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captune.progress import print_line
from captune.suggest import format_count


def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    parts: Annotated[
        list[Path], typer.Argument(metavar="PART", help="Finished files of the shares.")
    ],
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Overwrite OUT, and join captions of different models or decoding."
        ),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Join the parts even if shares are missing.")
    ] = False,
) -> None:
    """Join the caption files that runs with --shard have written, each image once."""
    from captune.bulk import merge_shares

    result = merge_shares(out, parts, force=force, allow_missing=allow_missing)
    twice = format_count(result.num_duplicates, "duplicate")
    left = f", {twice} skipped" if result.num_duplicates else ""
    print_line(f"{format_count(result.num_rows, 'caption')} in {out}{left}")
