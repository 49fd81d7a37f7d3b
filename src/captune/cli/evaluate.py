"""`captune evaluate` and `captune compare`: what models' captions of a data set are worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES
from captune.cli.data import CaptionColumn, Format, ImageColumn, ImageRoot, SplitFile
from captune.cli.decoding import takes_decoding
from captune.cli.score_table import print_scores
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    from captune.data import LoadOptions, SkippedImage
    from captune.evaluation import (
        CaptionedImages,
        ComputeOptions,
        Evaluation,
        Progress,
        ScoredData,
        ScoringOptions,
    )
    from captune.metrics import MetricInputs
    from captune.records import CaptionRecord, Split

Data = Annotated[str, typer.Option(help="Folder, file, hub id, shapes[:COUNT], or a run's folder.")]
SplitName = Annotated[
    Literal["train", "val", "test"],
    typer.Option(help="Split that is scored; a data set without splits is used whole."),
]
Metrics = Annotated[
    str, typer.Option(help="Metrics or groups, with commas: default, all, bleu, cider, ...")
]
ClipModel = Annotated[
    str | None,
    typer.Option(help="CLIP model of clip_score. [default: openai/clip-vit-base-patch32]"),
]
PacCheckpoint = Annotated[
    str | None, typer.Option(help="Weights of pac_s: its authors' file, or a folder.")
]
BertModel = Annotated[
    str | None, typer.Option(help="Model of bert_score. [default: roberta-large]")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images captioned at once.")]
MaxImages = Annotated[
    int | None, typer.Option(min=1, help="Score this many images, drawn with the scoring seed.")
]
MaxReferences = Annotated[
    int | None, typer.Option(min=1, help="Human captions of an image used; default: all.")
]
Out = Annotated[Path | None, typer.Option(help="Folder for predictions, CSV, plots and the page.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what is there.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, xpu or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(help="auto: bf16 where the hardware computes in it, else fp32."),
]
Resamples = Annotated[int, typer.Option(min=100, help="Resamples behind each interval and test.")]
ScoringSeed = Annotated[int, typer.Option(min=0, help="Seed of the resampling and the draw.")]

_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class _Places:
    """Where results go."""

    out: Path | None
    json_file: Path | None
    force: bool


@dataclass(frozen=True, slots=True)
class _Request:
    """What both commands are asked, but for the models; the split of `scoring` comes later."""

    data: str
    reading: LoadOptions
    split: Split
    max_images: int | None
    decoding: GenerateConfig
    scoring: ScoringOptions
    compute: ComputeOptions
    places: _Places


@takes_decoding
def evaluate(
    model: Annotated[str, typer.Argument(help="Folder, hub id, or a run's folder.")],
    *,
    data: Data,
    format: Format = "auto",
    split: SplitName = "test",
    baseline: Annotated[
        str | None, typer.Option(help="A model to compare with, such as the untrained one.")
    ] = None,
    metrics: Metrics = "default",
    clip_model: ClipModel = None,
    pac_checkpoint: PacCheckpoint = None,
    bert_model: BertModel = None,
    batch_size: BatchSize = 16,
    max_images: MaxImages = None,
    max_references: MaxReferences = None,
    out: Out = None,
    json_file: Json = None,
    force: Force = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    image_root: ImageRoot = None,
    split_file: SplitFile = None,
    resamples: Resamples = 1000,
    scoring_seed: ScoringSeed = 42,
    decoding: GenerateConfig,
) -> None:
    """Caption the images of a split with a model and score the captions.

    Exits with 3 when an image could not be read: it is listed, the others are scored.
    """
    request = _Request(
        data=data,
        reading=_reading(format, (image_column, caption_column), image_root, split_file),
        split=split,
        max_images=max_images,
        decoding=decoding,
        scoring=_scoring(
            metrics,
            decoding,
            resampling=(resamples, scoring_seed),
            max_references=max_references,
            inputs=_inputs((clip_model, pac_checkpoint, bert_model), device),
        ),
        compute=_compute(device, precision, batch_size),
        places=_Places(out, json_file, force),
    )
    _evaluate(model, baseline, request)


@takes_decoding
def compare(
    models: Annotated[list[str], typer.Argument(help="Folders, hub ids, or runs' folders.")],
    *,
    data: Data,
    images: Annotated[
        list[str] | None,
        typer.Option(help="Show the captions of this image; again for more. Not scored."),
    ] = None,
    format: Format = "auto",
    split: SplitName = "test",
    metrics: Metrics = "default",
    clip_model: ClipModel = None,
    pac_checkpoint: PacCheckpoint = None,
    bert_model: BertModel = None,
    batch_size: BatchSize = 16,
    max_images: MaxImages = None,
    max_references: MaxReferences = None,
    out: Out = None,
    json_file: Json = None,
    force: Force = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    image_root: ImageRoot = None,
    split_file: SplitFile = None,
    resamples: Resamples = 1000,
    scoring_seed: ScoringSeed = 42,
    decoding: GenerateConfig,
) -> None:
    """Score several models on the same images: who is better, by how much, and how sure that is.

    Exits with 3 when an image could not be read: it is listed, the others are scored.
    """
    request = _Request(
        data=data,
        reading=_reading(format, (image_column, caption_column), image_root, split_file),
        split=split,
        max_images=max_images,
        decoding=decoding,
        scoring=_scoring(
            metrics,
            decoding,
            resampling=(resamples, scoring_seed),
            max_references=max_references,
            inputs=_inputs((clip_model, pac_checkpoint, bert_model), device),
        ),
        compute=_compute(device, precision, batch_size),
        places=_Places(out, json_file, force),
    )
    _compare(models, images or (), request)


def _evaluate(model: str, baseline: str | None, request: _Request) -> None:
    from captune.evaluation import (
        ReportInputs,
        evaluation_facts,
        judge_run,
        score_run,
        write_evaluation,
    )

    models = {"model": model} if baseline is None else {"baseline": baseline, "model": model}
    scored, scoring = _prepare(request, models.values())
    captioned = _caption(models, scored.records, request)
    evaluation = score_run(
        scored.records,
        before=captioned.predictions.get("baseline"),
        after=captioned.predictions["model"],
        training_records=scored.training_records,
        options=scoring,
    )
    print_scores(evaluation, names={"before": "baseline", "after": "model"})
    verdict = judge_run(
        evaluation, captioned.predictions["model"], records=scored.records, occasion="evaluation"
    )
    for sentence in (f"{verdict.headline} {verdict.sentence}", *verdict.warnings):
        typer.echo(sentence)
    if request.places.json_file:
        _write_json(request.places.json_file, evaluation, model=model, captioned=captioned)
    if request.places.out:
        inputs = ReportInputs(
            title=model,
            description=f"Scored on {request.data}.",
            records=scored.records,
            before=captioned.predictions.get("baseline"),
            after=captioned.predictions["model"],
            evaluation=evaluation,
            generate=request.decoding,
            seed=scoring.seed,
            facts=evaluation_facts(models, captioned, data=scored.describe(request.data)),
            skipped=captioned.skipped,
            occasion="evaluation",
        )
        write_evaluation(request.places.out, inputs)
        typer.echo(f"report:  {request.places.out / 'report.html'}")
    _finish(captioned.skipped, scored)


def _compare(sources: Sequence[str], images: Sequence[str], request: _Request) -> None:
    from captune.evaluation import (
        ComparisonInputs,
        compare_systems,
        comparison_section,
        describe_ranking,
        evaluation_facts,
        name_models,
        warn_of_collapses,
        write_comparison_files,
        write_json,
    )

    models = name_models(sources)
    chosen = _read_chosen(images)
    scored, scoring = _prepare(request, models.values())
    captioned = _caption(models, [*scored.records, *chosen], request)
    evaluation = compare_systems(scored.records, captioned.predictions, options=scoring)
    print_scores(evaluation, names={})
    warnings = warn_of_collapses(evaluation, captioned.predictions, records=scored.records)
    for sentence in (" ".join(describe_ranking(evaluation)), *warnings):
        typer.echo(sentence)
    for record in chosen:
        typer.echo(f"{record.file_name}")
        for name, predictions in captioned.predictions.items():
            said = {p.image_id: p.caption for p in predictions}
            typer.echo(f"  {name}: {said.get(record.image_id, '(none)')}")
    if request.places.json_file:
        write_json(request.places.json_file, comparison_section(evaluation))
    if request.places.out:
        inputs = ComparisonInputs(
            records=scored.records,
            systems=captioned.predictions,
            evaluation=evaluation,
            generate=request.decoding,
            seed=scoring.seed,
            chosen=chosen,
            facts=evaluation_facts(models, captioned, data=scored.describe(request.data)),
        )
        write_comparison_files(request.places.out, inputs)
        typer.echo(f"page:    {request.places.out / 'comparison.html'}")
    _finish(captioned.skipped, scored)


def _reading(
    format: str,
    columns: tuple[str | None, str | None],
    image_root: Path | None,
    split_file: list[str] | None,
) -> LoadOptions:
    from captune.cli.data import parse_split_files
    from captune.data import LoadOptions

    return LoadOptions(
        format=format,
        image_column=columns[0],
        caption_column=columns[1],
        image_root=image_root,
        split_files=parse_split_files(split_file),
    )


def _scoring(
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


def _inputs(models: tuple[str | None, str | None, str | None], device: str) -> MetricInputs:
    from captune.metrics import MetricInputs
    from captune.metrics.inputs import DEFAULT_CLIP_MODEL
    from captune.models.devices import choose_hardware

    return MetricInputs(
        clip_model=models[0] or DEFAULT_CLIP_MODEL,
        pac_checkpoint=models[1],
        bert_model=models[2],
        device=str(choose_hardware(device).device),
    )


def _compute(device: str, precision: str, batch_size: int) -> ComputeOptions:
    from captune.evaluation import ComputeOptions

    return ComputeOptions(device, precision, batch_size)


def _prepare(request: _Request, models: Iterable[str]) -> tuple[ScoredData, ScoringOptions]:
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


def _caption(
    models: Mapping[str, str], records: Sequence[CaptionRecord], request: _Request
) -> CaptionedImages:
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


def _read_chosen(images: Sequence[str]) -> list[CaptionRecord]:
    from captune.errors import DataError
    from captune.records import CaptionRecord

    for name in images:
        if not Path(name).is_file():
            fix = "download it and give its path" if "://" in name else "give a file"
            raise DataError(f"there is no image file {name}", where="--images", fix=fix)
    # The prefix keeps them apart from the ids of the data set.
    paths = [Path(name) for name in images]
    return [CaptionRecord(f"chosen:{path}", path, file_name=path.name) for path in paths]


def _write_json(
    path: Path, evaluation: Evaluation, *, model: str, captioned: CaptionedImages
) -> None:
    """The keys of the contract, and beside them what they were compared with."""
    from captune.evaluation import paired_section, system_sections, write_json

    others = system_sections(evaluation)
    content = others.pop("after")
    if "before" in others:
        others["baseline"] = others.pop("before")
    paired = {
        name.replace("after", "model").replace("before", "baseline"): tests
        for name, tests in paired_section(evaluation).items()
    }
    skipped = [{"image_id": s.image_id, "reason": s.reason} for s in captioned.skipped]
    write_json(path, {**content, "model": model, **others, "paired": paired, "skipped": skipped})


def _finish(skipped: Sequence[SkippedImage], scored: ScoredData) -> None:
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
