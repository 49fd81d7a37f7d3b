"""The curves of a training run, read from its log.jsonl.

A killed and resumed run logs some steps twice; the later line is the one behind the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from captune.storage import intact_json_objects

_MAX_NUMBER = 10**300
VALIDATION_PREFIX = "val_"
_NOT_METRICS = frozenset({"val_loss", "val_perplexity", "val_tokens", "val_images", "val_seconds"})


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity over training.

    Attributes:
        name: Its key in the log.
        steps: Optimizer steps, in ascending order.
        values: One finite value per step.
    """

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrainingLog:
    """The logged values of each step.

    Attributes:
        rows: Step -> key -> number, steps in ascending order.
    """

    rows: Mapping[int, Mapping[str, float]]

    def curve(self, name: str) -> Curve:
        """Return the values of one key, skipping steps where it is absent or not finite."""
        points = [(step, row[name]) for step, row in self.rows.items() if name in row]
        finite = [(step, value) for step, value in points if math.isfinite(value)]
        return Curve(name, tuple(s for s, _ in finite), tuple(v for _, v in finite))

    def metric_names(self) -> tuple[str, ...]:
        """Return the keys of metrics of validation captions, in order of first appearance."""
        names: dict[str, None] = {}
        for row in self.rows.values():
            for key in row:
                if key.startswith(VALIDATION_PREFIX) and key not in _NOT_METRICS:
                    names.setdefault(key)
        return tuple(names)


def read_training_log(path: Path) -> TrainingLog:
    """Read a run's log.jsonl; a missing file gives an empty log, as for `captune evaluate`.

    Lines without a step, and a last line cut off by a kill, are skipped. A pipe in its place is
    not read, as it may never end.
    """
    if not path.is_file():
        return TrainingLog({})
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return TrainingLog({})
    return parse_training_log(text.split("\n"))


def parse_training_log(lines: Iterable[str]) -> TrainingLog:
    """Read the log from JSON lines with `step` and numbers."""
    rows: dict[int, dict[str, float]] = {}
    for row in intact_json_objects("\n".join(lines)):
        step = row.get("step")
        if isinstance(step, int) and not isinstance(step, bool):
            rows.setdefault(step, {}).update(_numbers(row))
    return TrainingLog({step: rows[step] for step in sorted(rows)})


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in row.items()
        # A larger integer is garbage and does not fit into a float.
        if isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER)
    }
