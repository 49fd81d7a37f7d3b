"""Pages of an invented run of 130 images, more than a page's file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.evaluation import (
    ComparisonInputs,
    ReportInputs,
    RunSettings,
    ScoringOptions,
    compare_systems,
    score_run,
    write_comparison,
    write_report,
)
from captune.evaluation.report.training_log import parse_training_log
from captune.recipe import GenerateConfig, load_recipe
from captune.records import CaptionRecord, Prediction
from support.serving.pictures import png

COLOURS = ("red", "blue", "green", "yellow", "white")
SHAPES = ("star", "circle", "square", "triangle", "ring", "cross", "heart")
NUM_IMAGES = 130


@dataclass(frozen=True)
class Pages:
    """Files of a report and of a comparison."""

    report: Path
    comparison: Path


def _predictions(captions: Sequence[str]) -> list[Prediction]:
    return [Prediction(str(n), text, -1.0, 5, "eos") for n, text in enumerate(captions)]


def _things(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], SHAPES[place % len(SHAPES)]


def make_inputs() -> ReportInputs:
    """Return a run whose model names every tenth image's colour wrong."""
    things = [_things(place) for place in range(NUM_IMAGES)]
    records = [
        CaptionRecord(
            str(n),
            png(n),
            (f"a {colour} {shape} on the left", f"there is a {colour} {shape} at the top"),
            split="test",
            file_name=f"images/shape-{n:03}.png",
        )
        for n, (colour, shape) in enumerate(things)
    ]
    after = [
        f"a {'purple' if n % 10 == 3 else colour} {shape} on the left"
        for n, (colour, shape) in enumerate(things)
    ]
    before = ["a bluebird near a star"] * NUM_IMAGES
    options = ScoringOptions(
        metrics=("default",),
        split="test",
        generate=GenerateConfig(num_beams=3, max_new_tokens=20),
        bootstrap_samples=100,
        seed=1,
    )
    evaluation = score_run(
        records,
        before=_predictions(before),
        after=_predictions(after),
        training_records=records,
        options=options,
    )
    log = parse_training_log(
        f'{{"step": {n}, "loss": {4 / n}, "val_loss": {5 / n}, "val_cider": {n / 10}}}'
        for n in range(1, 9)
    )
    return ReportInputs(
        title="a-run-with-a-rather-long-name-for-a-small-screen",
        description="Invented shapes.",
        records=records,
        before=_predictions(before),
        after=_predictions(after),
        evaluation=evaluation,
        generate=GenerateConfig(num_beams=3, max_new_tokens=20),
        seed=1,
        log=log,
        best_step=6,
        source=RunSettings("runs/shapes", load_recipe("demo")),
    )


def write_pages(folder: Path) -> Pages:
    """Write a report and a comparison."""
    inputs = make_inputs()
    write_report(inputs, folder / "report.html")
    systems = {"models/<first>": inputs.before or (), "second": inputs.after}
    options = ScoringOptions(("default",), "test", inputs.generate, 100, 1)
    comparison = ComparisonInputs(
        records=inputs.records,
        systems=systems,
        evaluation=compare_systems(inputs.records, systems, options=options),
        generate=inputs.generate,
        seed=1,
    )
    write_comparison(comparison, folder / "comparison.html")
    return Pages(folder / "report.html", folder / "comparison.html")
