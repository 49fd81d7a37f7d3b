"""Output of `captune score` besides the table of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.cli.scoring.table import CONSTANT_CAPTION
from captune.progress import Say

if TYPE_CHECKING:
    from captune.evaluation import Evaluation
    from captune.metrics import MetricInputs


@dataclass(frozen=True)
class ScoredFiles:
    """Scored files of predictions, and the constant caption if requested, on the same images.

    Attributes:
        evaluation: Scores, intervals and tests.
        inputs: Inputs of metrics besides captions.
        constant: The constant caption; empty: none.
        copied: File -> share of its captions that are training captions, 0..1.
    """

    evaluation: Evaluation
    inputs: MetricInputs
    constant: str = ""
    copied: Mapping[str, float] = field(default_factory=dict)


def print_notes(scored: ScoredFiles, say: Say) -> None:
    """Print the shares of copied captions, the constant caption and each metric's signature."""
    from captune.evaluation import format_share

    for name, share in scored.copied.items():
        say(
            f"{name}: {format_share(share)} of the captions are word-for-word copies of training"
            " captions."
        )
    if scored.constant:
        say(f"constant caption: {scored.constant}")
    for signature in next(iter(scored.evaluation.scores.values())).signatures.values():
        say(signature)


def print_skipped(fixes: Mapping[str, str], say: Say) -> None:
    """Print the skipped metrics, one line per reason.

    Args:
        fixes: Metric -> how to enable it.
        say: Called with each line.
    """
    for fix in dict.fromkeys(fixes.values()):
        names = [name for name in fixes if fixes[name] == fix]
        them = "it" if len(names) == 1 else "them"
        say(f"skipped: {', '.join(names)} (to enable {them}: {fix})")


def write_scores(path: Path, scored: ScoredFiles) -> None:
    """Write the shape that all commands share; a single file's scores are at the top too.

    Raises:
        OutputError: The place cannot be written.
    """
    from captune.evaluation import describe_scores, system_sections
    from captune.storage import write_json

    sections = system_sections(scored.evaluation)
    constant = sections.pop(CONSTANT_CAPTION, {})
    for name, section in sections.items():
        section["signatures"] = dict(scored.evaluation.scores[name].signatures)
        if name in scored.copied:
            section["copied_share"] = scored.copied[name]
    first, *others = sections
    content = describe_scores(scored.evaluation)
    if others:
        # The tests against the first file, also under the keys of version 0.1.
        tests = {name: _plain_tests(content["paired"][f"{name}_vs_{first}"]) for name in others}
        content |= {"tested_against": first, "paired": {**content["paired"], **tests}}
    else:
        content = {**sections[first], **content}
    content["systems"] = sections
    if scored.constant:
        constant = {**constant, "caption": scored.constant}
        content["systems"] = {**sections, CONSTANT_CAPTION: constant}
        content[CONSTANT_CAPTION] = constant
    write_json(path, content)


def _plain_tests(tests: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, object]]:
    ends = ("low", "high")
    return {
        metric: {**row, **dict(zip(ends, row["interval"], strict=True))}
        for metric, row in tests.items()
    }


def write_per_image(path: Path, evaluation: Evaluation) -> None:
    """Write one line per image and file; `predictions` names the file if there are several.

    Raises:
        OutputError: The place cannot be written.
    """
    from captune.evaluation import image_rows
    from captune.storage import write_jsonl

    write_jsonl(path, image_rows(evaluation, is_named=len(evaluation.scores) > 1))
