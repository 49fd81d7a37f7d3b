"""All runs as a table of text, the newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from captune.evaluation import (
    TextTable,
    describe_seconds,
    metric_label,
    round_value,
    score_lines,
    shorten_signature,
)
from captune.runs.saved_run import SavedRun

SHOWN_METRICS = ("cider", "meteor", "bleu_4", "rouge_l", "spice", "sacrebleu", "wer")

_MAX_DETAIL = 48
"""Longest reason in the table, in characters; the page and the CSV have all of it."""


def list_runs_briefly(runs: Sequence[SavedRun]) -> TextTable:
    """Return the table of `list_runs` for 80 columns: without intervals, reasons and times."""
    metrics = choose_metrics(runs)
    rows = []
    for run in sort_runs(runs):
        values = [score_lines(run.scores.get("after"), name)[0] for name in metrics]
        rows.append([run.name, run.state, *values, _count_images(run), run.finished[:10]])
    header = ["run", "state", *map(metric_label, metrics), "images", "finished"]
    return TextTable(header, rows, text_columns=2, note=_describe_signatures(runs))


def list_runs(runs: Sequence[SavedRun], *, for_programs: bool = False) -> TextTable:
    """Return a row per run, with its state and main scores.

    Args:
        runs: The runs.
        for_programs: Whether values are plain numbers with the ends of their intervals and the
            signature in columns of their own, for CSV.
    """
    metrics = choose_metrics(runs)
    if for_programs:
        rows = [_row_for_programs(run, metrics) for run in sort_runs(runs)]
        ends = [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
        return TextTable(
            ["run", "state", "detail", "finished", "signature", *ends, "images", "seconds"],
            rows,
            text_columns=5,
        )
    rows = [_row(run, metrics) for run in sort_runs(runs)]
    header = ["run", "state", *map(metric_label, metrics), "images", "time", "finished"]
    return TextTable(header, rows, text_columns=2, note=_describe_signatures(runs))


def sort_runs(runs: Sequence[SavedRun]) -> list[SavedRun]:
    """Return the runs, the newest first; those without a time are last, by name."""
    by_name = sorted(runs, key=lambda run: run.name)
    return sorted(by_name, key=lambda run: run.finished, reverse=True)


def choose_metrics(runs: Sequence[SavedRun], *, limit: int = 3) -> list[str]:
    """Return the most compared metrics that any of the runs has."""
    there = {name for run in runs if "after" in run.scores for name in run.scores["after"].metrics}
    return [name for name in SHOWN_METRICS if name in there][:limit]


def run_signature(run: SavedRun) -> str:
    """Return the short signature of a run's scores; empty without scores."""
    if "after" not in run.scores:
        return ""
    text = run.scores["after"].signature
    known = [run.signatures[name] for name in SHOWN_METRICS if name in run.signatures]
    start, _, rest = text.partition("; ")
    if not text.startswith("split:"):
        start, rest = "", text
    return shorten_signature(start, known or rest.split("; "))


def _row_for_programs(run: SavedRun, metrics: Sequence[str]) -> list[str]:
    cells = [cell for name in metrics for cell in _numbers(run, name)]
    texts = [run.name, run.state, run.detail, run.finished, run_signature(run)]
    seconds = f"{run.seconds:.0f}" if run.seconds else ""
    return [*texts, *cells, _count_images(run), seconds]


def _row(run: SavedRun, metrics: Sequence[str]) -> list[str]:
    cells = [" ".join(score_lines(run.scores.get("after"), name)) for name in metrics]
    detail = run.detail if len(run.detail) <= _MAX_DETAIL else f"{run.detail[:_MAX_DETAIL]} …"
    state = f"{run.state}: {detail}" if detail else run.state
    time = describe_seconds(run.seconds) if run.seconds else ""
    # The minute is enough, without the time zone.
    finished = run.finished[:16].replace("T", " ")
    return [run.name, state, *cells, _count_images(run), time, finished]


def _count_images(run: SavedRun) -> str:
    return str(run.scores["after"].num_images) if "after" in run.scores else ""


def _numbers(run: SavedRun, name: str) -> list[str]:
    scores = run.scores.get("after")
    if scores is None or name not in scores.metrics:
        return ["", "", ""]
    ends = scores.intervals.get(name)
    interval = ["", ""] if ends is None else [round_value(name, e) for e in (ends.low, ends.high)]
    return [round_value(name, scores.metrics[name]), *interval]


def _describe_signatures(runs: Sequence[SavedRun]) -> str:
    counts = Counter(filter(None, map(run_signature, runs)))
    if not counts:
        return ""
    if len(counts) == 1:
        return next(iter(counts))
    return f"{len(counts)} signatures: runs scored in different ways cannot be compared"
