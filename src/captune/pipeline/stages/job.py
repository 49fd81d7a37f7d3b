"""The argument of every stage: one stage of one run."""

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
        resume: Whether training resumes from a checkpoint.
        say: Called with each progress message.
        team: The processes; only the leader writes files, the others join in some stages.
    """

    recipe: Recipe
    folder: Path
    resume: bool
    say: Say
    team: Team
