"""What `captune score` prints and writes: one table, one JSON file, one line an image."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from captune.metrics import MetricInputs, MetricResults, PairedTest

CONSTANT_CAPTION = "constant_caption"
"""The system that says one caption to every image."""

Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ScoredSystems:
    """Predictions' files, and the constant caption where it was asked for, on the same images.

    Attributes:
        results: System -> its scores, in order.
        inputs: What metrics were given besides captions.
        constant: The constant caption; empty: none.
        copied: File -> share of its captions that are training captions, 0..1.
    """

    results: Mapping[str, MetricResults]
    inputs: MetricInputs
    constant: str = ""
    copied: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Scores with intervals and tests.

    Attributes:
        scored: The scores.
        intervals: System -> metric -> 95 % interval.
        tests: System -> metric -> its test against the first system.
    """

    scored: ScoredSystems
    intervals: Mapping[str, Intervals]
    tests: Mapping[str, Mapping[str, PairedTest]]

    @property
    def results(self) -> Mapping[str, MetricResults]:
        """System -> its scores, in order."""
        return self.scored.results


def print_scores(outcome: Outcome) -> None:
    """Print a row a metric and a column a system, then how each figure came about."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    results, intervals, tests = outcome.results, outcome.intervals, outcome.tests
    # A pipe has no width: numbers cut to fit 80 columns are of no use to the program behind it.
    width = None if sys.stdout.isatty() else 10_000
    console = Console(highlight=False, width=width)
    first = next(iter(results.values()))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("metric", no_wrap=True)
    for name in results:
        table.add_column(name, overflow="fold")
    for metric in first.corpus:
        cells = [
            _show_value(result.corpus[metric], intervals[name].get(metric))
            + _show_test(tests.get(name, {}).get(metric))
            for name, result in results.items()
        ]
        table.add_row(metric, *cells)
    console.print(table)
    console.print(f"{len(first.image_ids)} images; in brackets: 95 % bootstrap intervals", end="")
    against = next(iter(results))
    console.print(f"; tests are against {against}." if tests else ".", markup=False)
    for name, share in outcome.scored.copied.items():
        console.print(
            f"{name}: {share:.4f} of the captions are, word for word, training captions.",
            soft_wrap=True,
            markup=False,
        )
    if outcome.scored.constant:
        said = f"{CONSTANT_CAPTION}: {outcome.scored.constant}"
        console.print(said, soft_wrap=True, markup=False)
    for signature in first.signatures.values():
        console.print(signature, soft_wrap=True, markup=False)


def print_left_out(fixes: Mapping[str, str]) -> None:
    """Print a line a reason.

    Args:
        fixes: Metric -> how to get it.
    """
    import typer

    for fix in dict.fromkeys(fixes.values()):
        names = [name for name in fixes if fixes[name] == fix]
        typer.echo(f"left out: {', '.join(names)}; to have {_THEM[len(names) > 1]}, {fix}")


_THEM = ("it", "them")


def _show_value(value: float, interval: tuple[float, float] | None) -> str:
    # Every digit: these values are compared with those of other tools.
    if interval is None:
        return f"{value!r}"
    return f"{value!r}\n\\[{interval[0]:.4f}, {interval[1]:.4f}]"


def _show_test(test: PairedTest | None) -> str:
    if test is None:
        return ""
    return f"\np {test.p_value:.3f}; {test.wins} better, {test.ties} equal, {test.losses} worse"


def write_scores_json(path: Path, outcome: Outcome) -> None:
    """One file: its scores at the top; several: a section a file, and the paired tests.

    Raises:
        OutputError: The place cannot be written.
    """
    from dataclasses import asdict

    from captune.storage import write_json

    scored = outcome.scored
    sections = {
        name: _section(result, outcome.intervals[name]) for name, result in scored.results.items()
    }
    constant = sections.pop(CONSTANT_CAPTION) if scored.constant else {}
    for name, share in scored.copied.items():
        sections[name]["copied_share"] = share
    first, *others = sections
    content: dict[str, object] = (
        sections[first]
        if not others
        else {
            "systems": sections,
            "tested_against": first,
            "paired": {
                name: {metric: asdict(test) for metric, test in outcome.tests[name].items()}
                for name in others
            },
        }
    )
    if scored.constant:
        content[CONSTANT_CAPTION] = {**constant, "caption": scored.constant}
    write_json(path, content)


def _section(result: MetricResults, intervals: Intervals) -> dict[str, object]:
    return {
        "metrics": dict(result.corpus),
        "intervals": {name: list(ends) for name, ends in intervals.items()},
        "num_images": len(result.image_ids),
        "signature": result.signature,
        "signatures": dict(result.signatures),
    }


def write_per_image(path: Path, results: Mapping[str, MetricResults]) -> None:
    """A line an image and file; `predictions` names the file where there are several.

    Raises:
        OutputError: The place cannot be written.
    """
    from captune.storage import write_jsonl

    rows = []
    for name, result in results.items():
        columns = {metric: values.tolist() for metric, values in result.per_image.items()}
        for place, image_id in enumerate(result.image_ids):
            row: dict[str, object] = {"image_id": image_id}
            if len(results) > 1:
                row["predictions"] = name
            row |= {metric: values[place] for metric, values in columns.items()}
            rows.append(row)
    write_jsonl(path, rows)
