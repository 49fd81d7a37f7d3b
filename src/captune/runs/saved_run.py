"""One run as its folder holds it: state, settings, scores and curve, whatever is damaged.

Nothing here raises for a broken file: the run is listed with the reason. No file is changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from captune.errors import CaptuneError
from captune.records import Interval
from captune.storage import is_locked, read_json_object

_MARKS = ("recipe.yaml", "stages.json", "environment.json", "scores.json", "log.jsonl")
"""Files that only a run's folder has; one is enough."""

State = Literal["finished", "running", "unfinished", "damaged", "not a run"]
T = TypeVar("T")

_STAGES = ("prepare", "baseline", "train", "evaluate", "report")
_BROKEN = (
    *(CaptuneError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    RecursionError,
)
"""What reading a file can raise if it is not one that captune wrote."""


@dataclass(frozen=True, slots=True)
class SavedScores:
    """Scores of one system of a run.

    Attributes:
        metrics: Corpus value by metric.
        intervals: 95 % interval by metric.
        num_images: Number of images scored.
        signature: How they were computed.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    num_images: int
    signature: str


@dataclass(frozen=True)
class SavedRun:
    """What is known of a run.

    Attributes:
        folder: Its folder.
        name: Its path below the folder that was searched.
        state: How far it is.
        detail: The reason for the state, in a few words; may be empty.
        settings: Every setting by dotted key, as a JSON value; empty if unreadable.
        scores: System (`before`, `after`, `constant_caption`) -> its scores.
        signatures: Metric -> its signature.
        log: Training log; empty without training.
        finished: When the last stage ended, in ISO form; empty if unknown.
        seconds: Time of all stages.
        facts: Machine, versions and command.
    """

    folder: Path
    name: str
    state: State
    detail: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, SavedScores] = field(default_factory=dict)
    signatures: Mapping[str, str] = field(default_factory=dict)
    log: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    finished: str = ""
    seconds: float = 0.0
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path | None:
        """The run's report, if it has one."""
        path = self.folder / "report.html"
        return path if path.is_file() else None


def is_run(folder: Path) -> bool:
    """Return whether a folder has a file of a run; false if it cannot be searched."""
    try:
        return any((folder / mark).exists() for mark in _MARKS)
    except OSError:
        return False


def read_saved_run(folder: Path, *, name: str) -> SavedRun:
    """Return what the folder holds of a run; broken files make it `damaged`, never an error."""
    if not is_run(folder):
        return SavedRun(folder, name, "not a run", _describe_other(folder))
    problems: list[str] = []

    def _attempt(file: str, read: Callable[[Path], T]) -> T | None:
        if not (folder / file).exists():
            return None
        try:
            return read(folder / file)
        except _BROKEN as error:
            reason = str(error).splitlines()[0][:160] if str(error) else "broken"
            problems.append(f"{file}: {reason}")
            return None

    settings = _attempt("recipe.yaml", _read_settings) or {}
    stages = _attempt("stages.json", _read_stages) or {}
    scores, signatures = _attempt("scores.json", _read_scores) or ({}, {})
    log = _attempt("log.jsonl", _read_curves) or {}
    facts = _attempt("environment.json", _read_facts) or {}
    state, detail = _judge(folder, stages, problems)
    return SavedRun(
        folder=folder,
        name=name,
        state=state,
        detail=detail,
        settings=settings,
        scores=scores,
        signatures=signatures,
        log=log,
        finished=max((finished for finished, _ in stages.values()), default=""),
        seconds=sum(seconds for _, seconds in stages.values()),
        facts=facts,
    )


def _judge(
    folder: Path, stages: Mapping[str, tuple[str, float]], problems: list[str]
) -> tuple[State, str]:
    done = [name for name in _STAGES if name in stages]
    if is_locked(folder):
        return "running", f"after {done[-1]}" if done else "in prepare"
    if problems:
        return "damaged", "; ".join(problems)
    if len(done) == len(_STAGES):
        missing = [n for n in ("scores.json", "recipe.yaml") if not (folder / n).is_file()]
        return ("damaged", f"without {' and '.join(missing)}") if missing else ("finished", "")
    if not (folder / "stages.json").exists() and (folder / "scores.json").is_file():
        return "finished", "scores only, as captune evaluate writes them"
    left = next(name for name in _STAGES if name not in stages)
    is_begun = left == "train" and any((folder / "checkpoints").glob("step-*"))
    return "unfinished", f"stopped {'in' if is_begun else 'before'} {left}"


def _describe_other(folder: Path) -> str:
    try:
        entries = [entry.name for entry in folder.iterdir()]
    except OSError as error:
        return error.strerror or "cannot be read"
    if "config.json" in entries:
        return "a model"
    return "without files of a run" if entries else "empty"


def _read_settings(path: Path) -> dict[str, Any]:
    from captune.recipe import flat_settings, load_recipe

    return flat_settings(load_recipe(path))


def _read_stages(path: Path) -> dict[str, tuple[str, float]]:
    content = read_json_object(path, fix="")
    return {
        name: (str(entry["finished"]), _number(entry["seconds"]))
        for name, entry in content.items()
        if name in _STAGES
    }


def _read_scores(path: Path) -> tuple[dict[str, SavedScores], dict[str, str]]:
    content = read_json_object(path, fix="")
    # `captune evaluate` names its systems otherwise.
    systems = {"before": ("before", "baseline"), "after": ("after", "model")}
    known = content["systems"] if isinstance(content.get("systems"), dict) else content
    scores = {}
    for name, names in {**systems, "constant_caption": ("constant_caption",)}.items():
        section = next((known[n] for n in names if isinstance(known.get(n), dict)), None)
        if section is not None:
            scores[name] = _read_section(section)
    if "after" not in scores:
        raise ValueError("no scores of the model")
    signatures = content.get("signatures") or {}
    return scores, {str(name): str(text) for name, text in signatures.items()}


def _read_section(section: Mapping[str, Any]) -> SavedScores:
    return SavedScores(
        metrics={str(n): _number(v) for n, v in section["metrics"].items()},
        intervals={
            str(name): Interval(*map(_number, ends)) for name, ends in section["intervals"].items()
        },
        num_images=int(_number(section["num_images"])),
        signature=str(section["signature"]),
    )


def _read_curves(path: Path) -> dict[str, tuple[tuple[int, float], ...]]:
    from captune.evaluation import read_training_log

    log = read_training_log(path)
    curves = {}
    for name in ("val_cider", "val_loss", "loss", *log.metric_names()):
        curve = log.curve(name)
        if curve.values:
            curves[name] = tuple(zip(curve.steps, curve.values, strict=True))
    return curves


def _read_facts(path: Path) -> dict[str, str]:
    return {str(k): str(v) for k, v in read_json_object(path, fix="").items()}


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:40]!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)
