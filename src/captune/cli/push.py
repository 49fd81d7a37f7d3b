"""`captune push`: push a run's model to the hub, with scores, examples, plots and recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captune.cli.app import stopping
from captune.progress import print_line
from captune.suggest import format_count


def push(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a model's folder.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub, or NAME of your own.")],
    *,
    private: Annotated[
        bool,
        typer.Option("--private", help="Create a repository that only you and your team can see."),
    ] = False,
    no_images: Annotated[
        bool,
        typer.Option("--no-images", help="Omit examples and plots that show your images."),
    ] = False,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Also push a Space: a Gradio app in which people try the model.",
        ),
    ] = None,
) -> None:
    """Push a run's model to the hub: folder, model card with scores, examples, plots, recipe.

    Nothing local is changed; to repeat a failed push, run the same command. Card and recipe show
    no paths of this machine.
    """
    from captune.publishing import push_run, push_space

    with stopping(lambda: "nothing local was changed: run the same command again"):
        pushed = push_run(run, repo, private=private, with_images=not no_images)
        opened = space and push_space(pushed, run, repo=space, private=private)[0]
    who = "private" if pushed.repo.is_private else "public"
    print_line(f"pushed:  {format_count(len(pushed.paths), 'file')} as {pushed.commit[:12]}")
    print_line(f"page:    {pushed.repo.url} ({who})")
    print_line(f"use it:  captune caption {pushed.repo.repo} PHOTO.jpg")
    if not pushed.has_license:
        print_line(
            "note: the card states no licence, so nobody may assume that they can use the model;"
            " set license: in the recipe, run it with --from report, and push again",
            to_stderr=True,
        )
    if opened:
        print_line(f"space:   {opened.url}")
        if pushed.repo.is_private:
            print_line("         add a token that may read the model as its secret HF_TOKEN")
