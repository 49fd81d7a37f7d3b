"""The scores as text to paste into a paper, a pull request or a README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from captune.evaluation.compare import Evaluation
from captune.evaluation.score_tables import render_scores
from captune.text_safety import clean_text


@dataclass(frozen=True, slots=True)
class ScoreCopy:
    """The score table in one style; the text is escaped and keeps its lines."""

    label: str
    text: Markup


def copy_scores(evaluation: Evaluation, names: Mapping[str, str]) -> list[ScoreCopy]:
    """Return the score table as `--table` prints it.

    Args:
        evaluation: The scores.
        names: Names shown for systems instead of their own.
    """
    return [
        ScoreCopy("Markdown", _show_lines(render_scores(evaluation, "markdown", names=names))),
        ScoreCopy("LaTeX", _show_lines(render_scores(evaluation, "latex", names=names))),
    ]


def _show_lines(text: str) -> Markup:
    return Markup("\n").join(clean_text(line) for line in text.split("\n"))
