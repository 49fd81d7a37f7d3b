"""Pushes of a run to the hub if its recipe requests them; a failed push never stops the run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from captune.errors import CaptuneError
from captune.progress import Say
from captune.publishing import BestModelPusher, push_run
from captune.recipe import Recipe
from captune.suggest import quote_words


def pushing_best(recipe: Recipe, folder: Path, *, say: Say) -> AbstractContextManager[object]:
    """Push each new best model while the body runs, if the recipe requests it."""
    repo = recipe.train.push_to_hub
    if repo is None:
        return nullcontext()
    return BestModelPusher(folder / "model", repo, private=recipe.train.push_private, say=say)


def push_finished(recipe: Recipe, folder: Path, *, say: Say) -> None:
    """Push the evaluated run with its card, if the recipe requests it."""
    train = recipe.train
    if train.push_to_hub is None:
        return
    try:
        pushed = push_run(
            folder, train.push_to_hub, private=train.push_private, with_images=train.push_images
        )
    except (CaptuneError, OSError) as error:
        flags = " --private" * train.push_private + " --no-images" * (not train.push_images)
        say(f"the run is complete, but was not pushed: {error}")
        say(f"  push it later: captune push {quote_words(str(folder))} {train.push_to_hub}{flags}")
        return
    say(f"pushed: {pushed.repo.url}")
