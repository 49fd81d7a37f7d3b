"""Scores of systems as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captune.evaluation import Evaluation


def print_scores(evaluation: Evaluation, *, names: Mapping[str, str]) -> None:
    """Print a row a metric and a column a system, then the signature.

    Args:
        evaluation: What was scored.
        names: What systems are called where it is not their own name.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    systems = list(evaluation.scores)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for system in systems:
        table.add_column(Text(names.get(system, system).replace("_", " ")), justify="right")
    if _tested(systems):
        table.add_column("change", justify="right")
    for metric in evaluation.metrics:
        cells = [_cell(evaluation, system, metric) for system in systems]
        if _tested(systems):
            cells.append(_change(evaluation, systems[0], systems[1], metric=metric))
        table.add_row(Text(metric), *map(Text, cells))
    console = Console(highlight=False)
    console.print(table)
    console.print(evaluation.run_signature, markup=False, soft_wrap=True)


def _tested(systems: Sequence[str]) -> bool:
    """Whether there are a first and a second system that are tested against each other."""
    return len(systems) > 1 and systems[1] != "constant_caption"


def _cell(evaluation: Evaluation, system: str, metric: str) -> str:
    from captune.evaluation import format_value

    scores = evaluation.scores[system]
    if metric not in scores.metrics:
        return "–"
    text = format_value(metric, scores.metrics[metric])
    interval = scores.intervals.get(metric)
    if interval is None:
        return text
    return f"{text}\n[{format_value(metric, interval.low)}, {format_value(metric, interval.high)}]"


def _change(evaluation: Evaluation, against: str, system: str, *, metric: str) -> str:
    from captune.evaluation import format_delta, format_test

    test = evaluation.test(against, system).get(metric)
    return (
        "" if test is None else f"{format_delta(metric, test.delta)}\n{format_test(metric, test)}"
    )
