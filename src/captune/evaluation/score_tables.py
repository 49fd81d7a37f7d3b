"""Scores as a table to paste: rounded values with intervals, and a short signature.

Like sacreBLEU's and lm-eval's tables. Files of scores have all digits and the full signature.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from captune.evaluation.compare import CONSTANT_CAPTION, Evaluation, SystemPair
from captune.evaluation.labels import (
    directed_label,
    format_delta,
    format_test,
    format_value,
    round_value,
)
from captune.evaluation.tables import TableStyle, TextTable, render_table
from captune.records import Interval

_NO_NAMES: Mapping[str, str] = MappingProxyType({})
_SHORT = ("split", "refs", "images", "tok", "decoding", "captune")
# A prompt in the decoding settings may contain the separator.
_FIELD = re.compile(r"(?:^|\|)(\w+):(.*?)(?=\|\w+:|$)", flags=re.DOTALL)


class ValuesWithIntervals(Protocol):
    """Scores of one system, of this process or of a file."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Corpus value by metric."""

    @property
    def intervals(self) -> Mapping[str, Interval]:
        """95 % interval by metric."""


def render_scores(
    evaluation: Evaluation, style: TableStyle, *, names: Mapping[str, str] = _NO_NAMES
) -> str:
    """Return the scores as one table, and the tests of more than two systems as another.

    CSV is one table for programs: a row per metric and system, then a row per metric and test,
    with the keys of the JSON files.

    Args:
        evaluation: Scores and tests.
        style: How the table is written.
        names: Names shown for systems instead of their own.
    """
    own = {CONSTANT_CAPTION: "constant caption"} | dict(names)
    called = {name: own.get(name, name) for name in evaluation.scores}
    if style == "csv":
        return render_table(_list_everything(evaluation, called), "csv")
    pairs = [p for p in evaluation.tests if CONSTANT_CAPTION not in (p.against, p.system)]
    tables = [_list_scores(evaluation, called, pair=pairs[0] if len(pairs) == 1 else None)]
    if len(pairs) > 1:
        tables.append(_list_tests(evaluation, called, pairs))
    return "\n\n".join(render_table(table, style) for table in tables)


def short_signature(evaluation: Evaluation) -> str:
    """Return the part of the signature that makes two scores comparable, in one short line.

    Such as `split:test|refs:5|images:1000|tok:ptb-3.4.1|decoding:num_beams=3|captune:0.2.0`. The
    full signature also has the resampling, versions of packages and a part for each metric.
    """
    scores = next(iter(evaluation.scores.values()))
    names = [evaluation.main_metric, *scores.signatures]
    known = [scores.signatures[name] for name in names if name in scores.signatures]
    return shorten_signature(evaluation.run_signature, known)


def shorten_signature(run: str, metrics: Sequence[str]) -> str:
    """Return the short signature of scores from the parts of the full one.

    Args:
        run: Split, references, decoding, resampling and versions; empty for scored files.
        metrics: Signatures of metrics, the main one first; the first that names its tokenizer is
            used.
    """
    metric = next((text for text in metrics if "|tok:" in text), next(iter(metrics), ""))
    fields = dict(_FIELD.findall(metric)) | dict(_FIELD.findall(run))
    return "|".join(f"{name}:{fields[name]}" for name in _SHORT if name in fields)


def _list_scores(
    evaluation: Evaluation, called: Mapping[str, str], *, pair: SystemPair | None
) -> TextTable:
    rows = []
    for metric in evaluation.metrics:
        cells = [" ".join(score_lines(evaluation.scores[name], metric)) for name in called]
        if pair is not None:
            cells += _show_test(evaluation, pair, metric=metric)
        rows.append([directed_label(metric), *cells])
    tested = ["change", "p"] if pair is not None else []
    return TextTable(["metric", *called.values(), *tested], rows, note=short_signature(evaluation))


def _list_tests(
    evaluation: Evaluation, called: Mapping[str, str], pairs: Sequence[SystemPair]
) -> TextTable:
    metric = evaluation.main_metric
    rows = [
        [called[p.system], called[p.against], *_show_test(evaluation, p, metric=metric)]
        for p in pairs
    ]
    header = [f"{directed_label(metric)}: system", "against", "change", "p"]
    return TextTable(header, rows, text_columns=2)


def _list_everything(evaluation: Evaluation, called: Mapping[str, str]) -> TextTable:
    signature = short_signature(evaluation)
    rows = []
    for name, scores in evaluation.scores.items():
        for metric, value in scores.metrics.items():
            ends = scores.intervals.get(metric)
            numbers = (value, math.nan, math.nan) if ends is None else (value, ends.low, ends.high)
            cells = [round_value(metric, number) for number in numbers]
            rows.append([metric, called[name], "", signature, *cells, ""])
    for pair, tests in evaluation.tests.items():
        for metric, test in tests.items():
            cells = [round_value(metric, number) for number in (test.delta, test.low, test.high)]
            sides = (called[pair.system], called[pair.against])
            rows.append([metric, *sides, signature, *cells, f"{test.p_value:.3g}"])
    header = ["metric", "system", "against", "signature", "value", "low", "high", "p"]
    return TextTable(header, rows, text_columns=4)


def _show_test(evaluation: Evaluation, pair: SystemPair, *, metric: str) -> list[str]:
    test = evaluation.tests[pair].get(metric)
    if test is None:
        return ["–", "–"]
    ends = f"[{format_delta(metric, test.low)}, {format_delta(metric, test.high)}]"
    p_value = format_test(metric, test).removeprefix("p = ").removeprefix("p ")
    return [f"{format_delta(metric, test.delta)} {ends}", p_value]


def score_lines(scores: ValuesWithIntervals | None, metric: str) -> list[str]:
    """Return a rounded value and, if there is one, its interval; a dash without a value."""
    if scores is None or metric not in scores.metrics:
        return ["–"]
    text = format_value(metric, scores.metrics[metric])
    ends = scores.intervals.get(metric)
    if ends is None:
        return [text]
    return [text, f"[{format_value(metric, ends.low)}, {format_value(metric, ends.high)}]"]
