"""The scores as text to paste into a paper, a pull request or a README."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from captune.evaluation.compare import Evaluation
from captune.evaluation.report.page import keep_lines
from captune.evaluation.score_tables import render_scores


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
        ScoreCopy("Markdown", keep_lines(render_scores(evaluation, "markdown", names=names))),
        ScoreCopy("LaTeX", keep_lines(render_scores(evaluation, "latex", names=names))),
    ]
