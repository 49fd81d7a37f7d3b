"""Scores of systems in the terminal: the same table for `score`, `evaluate` and `compare`.

With `--table`, the table is all that goes to stdout, so that it can be piped.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.progress import Say, open_console, print_line, print_lines
from captune.suggest import format_count
from captune.text_safety import escape_terminal

if TYPE_CHECKING:
    from rich.table import Table

    from captune.evaluation import Evaluation, SystemPair
    from captune.metrics import PairedTest

CONSTANT_CAPTION = "constant_caption"
_OWN_NAMES = MappingProxyType({CONSTANT_CAPTION: "constant caption"})
# Of a column in the terminal, with the gap to the next; and the least of the names' column.
_PADDING, _MIN_NAME = 3, 12

TableFlag = Annotated[
    Literal["plain", "markdown", "latex", "csv"] | None,
    typer.Option(
        metavar="STYLE",
        help="Print only a table of rounded scores and a short signature to stdout: plain,"
        " markdown, latex or csv. Messages go to stderr.",
    ),
]
"""`--table` of every command that prints scores; `--format` is the format of the data."""


def choose_say(table: str | None) -> Say:
    """Return where messages go: to stderr where stdout holds a table."""
    return functools.partial(print_line, to_stderr=table is not None)


def print_table(
    evaluation: Evaluation,
    table: Literal["plain", "markdown", "latex", "csv"] | None,
    *,
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print scores in the style of `--table`, or as `print_scores` does if it is not given."""
    from captune.evaluation import render_scores

    if table is None:
        print_scores(evaluation, names=names)
    else:
        print_lines(render_scores(evaluation, table, names=names))


def print_scores(
    evaluation: Evaluation, *, names: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print a row per metric and a column per system, the tests, then how to read the figures.

    Two systems get a column with the change from the first to the second; for more of
    them, a second table has a row per pair.

    Args:
        evaluation: Scores and tests.
        names: Names shown for systems instead of their own.
    """
    own = _OWN_NAMES | names
    called = {name: escape_terminal(own.get(name, name)) for name in evaluation.scores}
    # A pipe has no width: numbers cut to 80 columns are useless to the next program.
    console = open_console(width=None if sys.stdout.isatty() else 10_000)
    # The verdict reports which system is better than the constant caption.
    pairs = [pair for pair in evaluation.tests if CONSTANT_CAPTION not in _both(pair)]
    pair = pairs[0] if len(pairs) == 1 else None
    console.print(_make_table(evaluation, called, pair=pair, room=console.width))
    if len(pairs) > 1:
        console.print(_make_pair_table(evaluation, called, pairs))
    for sentence in _describe_table(evaluation, pairs):
        console.print(sentence, markup=False, soft_wrap=True)
    if evaluation.run_signature:
        console.print(evaluation.run_signature, markup=False, soft_wrap=True)


def _both(pair: SystemPair) -> tuple[str, str]:
    return pair.against, pair.system


def _make_table(
    evaluation: Evaluation, called: Mapping[str, str], *, pair: SystemPair | None, room: int
) -> Table:
    """Build a row per metric and a column per system, for a terminal of `room` columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from captune.evaluation import metric_label, score_lines

    metrics = evaluation.metrics
    titles = list(called.values())
    columns = [
        [score_lines(evaluation.scores[name], metric) for metric in metrics] for name in called
    ]
    if pair is not None:
        titles.append("change")
        columns.append(
            [_show_test(metric, evaluation.tests[pair].get(metric)) for metric in metrics]
        )
    # Values with their intervals; the longest line of a test, about images, may wrap.
    widths = [max(len(line) for lines in column for line in [*lines[:2], ""]) for column in columns]
    # Names of metrics wrap before intervals do, unless even that is too wide.
    is_roomy = sum(width + _PADDING for width in (_MIN_NAME, *widths)) <= room
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", overflow="fold")
    for title, width in zip(titles, widths, strict=True):
        least = width if is_roomy else None
        table.add_column(Text(title), justify="right", overflow="fold", min_width=least)
    for place, metric in enumerate(metrics):
        cells = ["\n".join(column[place]) for column in columns]
        table.add_row(Text(metric_label(metric)), *map(Text, cells))
    return table


def _make_pair_table(
    evaluation: Evaluation, called: Mapping[str, str], pairs: Sequence[SystemPair]
) -> Table:
    """Build a row per pair for the main metric; the `--json` file has all metrics of all pairs."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from captune.evaluation import metric_label

    metric = evaluation.main_metric
    table = Table(box=box.SIMPLE_HEAD)
    for title in (f"{metric_label(metric)}: system", "against"):
        table.add_column(title, overflow="fold")
    for title in ("change", "95 % interval", "p", "images"):
        table.add_column(title, justify="right")
    for pair in pairs:
        cells = _show_test(metric, evaluation.tests[pair].get(metric))
        row = (called[pair.system], called[pair.against], *cells)
        table.add_row(*map(Text, row))
    return table


def _show_test(metric: str, test: PairedTest | None) -> list[str]:
    """Return change, interval, p and counts of images of a test."""
    from captune.evaluation import format_delta, format_test

    if test is None:
        return []
    ends = f"[{format_delta(metric, test.low)}, {format_delta(metric, test.high)}]"
    parts = [format_delta(metric, test.delta), ends, format_test(metric, test)]
    if test.wins + test.ties + test.losses:
        parts.append(f"{test.wins} better, {test.ties} equal, {test.losses} worse")
    return parts


def _describe_table(evaluation: Evaluation, pairs: Sequence[SystemPair]) -> list[str]:
    from captune.evaluation import metric_label
    from captune.metrics import is_lower_better

    images = format_count(evaluation.num_images, "image")
    sentences = [f"{images}; in brackets: 95 % bootstrap intervals."]
    lower = ", ".join(map(metric_label, filter(is_lower_better, evaluation.metrics)))
    if lower:
        sentences.append(f"Lower is better: {lower}.")
    if pairs:
        sentences.append(
            "The interval of a change and its p come from one test: the interval excludes 0 where"
            " p is below 0.05. Images are equal where the shown digits are."
        )
    if len(pairs) > 1:
        sentences.append(f"Each p is for one pair, not corrected for {len(pairs)} pairs.")
    return sentences
