"""One stage of one run: what every stage is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captune.progress import Say
from captune.recipe import Recipe
from captune.training import Team


@dataclass(frozen=True, slots=True)
class Job:
    """One stage of one run.

    Attributes:
        recipe: The whole recipe.
        folder: The run's folder.
        resume: Whether training goes on from a checkpoint.
        say: Takes lines for people.
        team: The processes; those that do not lead join in some stages and write nothing.
    """

    recipe: Recipe
    folder: Path
    resume: bool
    say: Say
    team: Team
