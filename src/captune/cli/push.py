"""`captune push`: a run's model on the hub, with its scores, examples, plots and recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captune.cli.app import stopping
from captune.progress import print_line


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

    with stopping(lambda: "nothing local was changed: run the same command again"):
        pushed = push_run(run, repo, private=private, with_images=not no_images)
    who = "private" if pushed.repo.is_private else "public"
    print_line(f"pushed:  {len(pushed.paths)} files as {pushed.commit[:12]}")
    print_line(f"page:    {pushed.repo.url} ({who})")
    print_line(f"use it:  captune caption {pushed.repo.repo} PHOTO.jpg")
