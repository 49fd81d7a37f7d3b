"""`captune push`: a run's model on the hub, with its scores, examples, plots and recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captune.cli.app import INTERRUPTED


def push(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a model's folder.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or NAME of your own.")],
    *,
    private: Annotated[
        bool, typer.Option("--private", help="Only you and your team may see it.")
    ] = False,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="Leave out examples and plots that show your images."),
    ] = False,
) -> None:
    """Push a run's model to the hub: folder, model card with scores, examples, plots, recipe.

    Nothing local is changed; a push that failed is repeated by the same command. Paths of this
    machine are left out of card and recipe.
    """
    from captune.publishing import push_run

    try:
        pushed = push_run(run, repo, private=private, with_images=not no_images)
    except KeyboardInterrupt:
        typer.echo("stopped: nothing was changed here; the same command goes on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    who = "private" if pushed.repo.is_private else "public"
    typer.echo(f"pushed:  {len(pushed.paths)} files as {pushed.commit[:12]}")
    typer.echo(f"page:    {pushed.repo.url} ({who})")
    typer.echo(f"use it:  captune caption {pushed.repo.repo} PHOTO.jpg")
