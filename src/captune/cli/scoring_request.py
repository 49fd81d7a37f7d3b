"""What `captune evaluate` and `captune compare` do alike: read, caption, and list what failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from captune.cli.app import FINISHED_WITH_FAILURES
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    from captune.data import LoadOptions, SkippedImage
    from captune.evaluation import (
        CaptionedImages,
        ComputeOptions,
        Progress,
        ScoredData,
        ScoringOptions,
    )
    from captune.metrics import MetricInputs
    from captune.records import CaptionRecord, Split

_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class Places:
    """Where results go."""

    out: Path | None
    json_file: Path | None
    force: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What both commands are asked, but for the models; the split of `scoring` comes later."""

    data: str
    reading: LoadOptions
    split: Split
    max_images: int | None
    decoding: GenerateConfig
    scoring: ScoringOptions
    compute: ComputeOptions
    places: Places


def read_options(
    format: str,
    columns: tuple[str | None, str | None],
    *,
    image_root: Path | None,
    split_file: list[str] | None,
    filters: list[str] | None,
) -> LoadOptions:
    """How the data set is read."""
    from captune.cli.data import parse_filters, parse_split_files
    from captune.data import LoadOptions

    return LoadOptions(
        format=format,
        image_column=columns[0],
        caption_column=columns[1],
        image_root=image_root,
        split_files=parse_split_files(split_file),
        filters=parse_filters(filters),
    )


def scoring_options(
    metrics: str,
    decoding: GenerateConfig,
    *,
    resampling: tuple[int, int],
    max_references: int | None,
    inputs: MetricInputs,
) -> ScoringOptions:
    """Scoring options; metrics that cannot be computed stop the command here, before any work."""
    from captune.evaluation import ScoringOptions

    options = ScoringOptions(
        metrics=tuple(name.strip() for name in metrics.split(",") if name.strip()),
        split="",
        generate=decoding,
        bootstrap_samples=resampling[0],
        seed=resampling[1],
        max_references=max_references,
        inputs=inputs,
    )
    options.check_metrics()
    return options


def metric_inputs(models: tuple[str | None, str | None, str | None], device: str) -> MetricInputs:
    """What metrics of images and models need: CLIP, PAC-S and BERT models, and a device."""
    from captune.metrics import MetricInputs
    from captune.metrics.inputs import DEFAULT_CLIP_MODEL
    from captune.models.devices import choose_hardware

    return MetricInputs(
        clip_model=models[0] or DEFAULT_CLIP_MODEL,
        pac_checkpoint=models[1],
        bert_model=models[2],
        device=str(choose_hardware(device).device),
    )


def compute_options(device: str, precision: str, batch_size: int) -> ComputeOptions:
    """Where and how the models run."""
    from captune.evaluation import ComputeOptions

    return ComputeOptions(device, precision, batch_size)


def prepare_images(request: Request, models: Iterable[str]) -> tuple[ScoredData, ScoringOptions]:
    """The images, once the places and the models are known to be good."""
    from captune.evaluation import check_output, find_model, load_scored
    from captune.files import refuse_existing

    places = request.places
    if places.out is not None:
        check_output(places.out, force=places.force)
    if places.json_file is not None and not places.force:
        refuse_existing(places.json_file)
    for source in models:
        find_model(source)
    scored = load_scored(
        request.data,
        request.reading,
        split=request.split,
        max_images=request.max_images,
        seed=request.scoring.seed,
    )
    for note in scored.notes:
        typer.echo(f"note: {note}", err=True)
    return scored, replace(request.scoring, split=scored.split)


def caption_all(
    models: Mapping[str, str], records: Sequence[CaptionRecord], request: Request
) -> CaptionedImages:
    """Every model's captions of the images, with a bar a model."""
    from captune.evaluation import caption_with

    with _progress_bars(models, len(records)) as progress:
        return caption_with(
            models, records, config=request.decoding, compute=request.compute, progress=progress
        )


@contextmanager
def _progress_bars(models: Iterable[str], total: int) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {name: bars.add_task(escape(name), total=total) for name in models}
        yield lambda name, _: bars.advance(tasks[name])


def finish(skipped: Sequence[SkippedImage], scored: ScoredData) -> None:
    """Lists the images that could not be read; exits with 3 when there are any."""
    if scored.skipped:
        first = scored.skipped[0]
        typer.echo(
            f"note: the data set names {len(scored.skipped)} images that cannot be used, the first:"
            f" {first.file or first.image_id} ({first.reason})",
            err=True,
        )
    for image in skipped[:_MAX_LISTED]:
        typer.echo(f"not read: {image.file} ({image.reason})", err=True)
    if skipped:
        typer.echo(f"{len(skipped)} images could not be read and are not scored", err=True)
        raise typer.Exit(FINISHED_WITH_FAILURES)
