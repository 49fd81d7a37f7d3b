"""The scores as text to paste elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from captune.evaluation.compare import Evaluation


@dataclass(frozen=True, slots=True)
class ScoreCopy:
    """The score table in one style."""

    label: str
    text: str


def copy_scores(_: Evaluation) -> list[ScoreCopy]:
    """Return the score table as Markdown and as LaTeX."""
    return []
