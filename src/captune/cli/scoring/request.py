"""Flags, reading, captioning and failures of `captune evaluate` and `captune compare`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES, stopping
from captune.cli.flags.decoding import (
    BatchSize,
    Device,
    model_to_load,
    takes_decoding,
)
from captune.cli.flags.groups import takes
from captune.cli.flags.images import Decode
from captune.cli.flags.name_lists import split_names
from captune.cli.flags.reading import read_options
from captune.cli.scoring.inputs import Tokenize
from captune.cli.scoring.table import TableFlag
from captune.errors import located
from captune.progress import print_line, show_progress
from captune.recipe import GenerateConfig, fill_decoding
from captune.suggest import format_count

if TYPE_CHECKING:
    from captune.data import LoadOptions, SkippedImage
    from captune.evaluation import (
        CaptionedImages,
        ComputeOptions,
        ScoredData,
        ScoringOptions,
    )
    from captune.records import CaptionRecord, Split

_MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class OutputPlaces:
    """Where results go."""

    out: Path | None
    json_file: Path | None
    force: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A request to either command, without models; the split of `scoring` is set later."""

    data: str
    reading: LoadOptions
    split: Split
    max_images: int | None
    decoding: GenerateConfig
    scoring: ScoringOptions
    compute: ComputeOptions
    backend: Literal["auto", "torch", "openvino", "onnx"] | None
    places: OutputPlaces
    table: Literal["plain", "markdown", "latex", "csv"] | None


@takes_decoding
@takes("reading", read_options)
def make_request(
    *,
    data: Annotated[
        str, typer.Option(help="Folder, file, hub id, shapes[:COUNT], or a run's folder.")
    ],
    split: Annotated[
        Literal["train", "val", "test"],
        typer.Option(help="Split to score; a data set without splits is scored entirely."),
    ] = "test",
    metrics: Annotated[
        str,
        typer.Option(help="Metrics or groups, separated by commas: default, all, bleu, cider, ..."),
    ] = "default",
    tokenize: Tokenize = "pycocoevalcap",
    clip_model: Annotated[
        str | None,
        # A hub id would be cut at 80 columns.
        typer.Option(help="CLIP model of clip_score.", show_default="OpenAI's ViT-B/32"),
    ] = None,
    pac_checkpoint: Annotated[
        str | None, typer.Option(help="Weights of pac_s: a file from its authors, or a folder.")
    ] = None,
    bert_model: Annotated[
        str | None, typer.Option(help="Model of bert_score.", show_default="roberta-large")
    ] = None,
    batch_size: BatchSize = None,
    max_images: Annotated[
        int | None,
        typer.Option(min=1, help="Score only this many images, drawn with the scoring seed."),
    ] = None,
    max_references: Annotated[
        int | None, typer.Option(min=1, help="Human captions used per image; default: all.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for predictions, CSV, plots and the HTML page.")
    ] = None,
    table: TableFlag = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the scores to this file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    decode: Decode = "inline",
    backend: Annotated[
        Literal["auto", "torch", "openvino", "onnx"] | None,
        typer.Option(
            help="What runs a model: auto, torch, openvino or onnx, as for captune caption.",
            show_default="torch; for an exported model its own runtime",
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="auto: bf16 if the hardware supports it, fp16 on older GPUs, else fp32."),
    ] = "fp32",
    resamples: Annotated[
        int, typer.Option(min=100, max=100_000, help="Resamples per interval and test.")
    ] = 1000,
    scoring_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the resampling and the draw.")
    ] = 42,
    reading: LoadOptions,
    decoding: GenerateConfig,
) -> Request:
    """Return the request; raise for metrics that cannot be computed, before any work.

    Raises:
        MetricError: A metric is unknown, or lacks its checkpoint.
        MissingExtraError: A metric requested by name needs an extra.
    """
    from captune.evaluation import ComputeOptions, ScoringOptions
    from captune.hardware import choose_hardware
    from captune.metrics import DEFAULT_CLIP_MODEL, MetricInputs

    scoring = ScoringOptions(
        metrics=tuple(split_names(metrics)),
        split="",
        generate=decoding,
        bootstrap_samples=resamples,
        seed=scoring_seed,
        max_references=max_references,
        tokenize=tokenize,
        inputs=MetricInputs(
            clip_model=clip_model or DEFAULT_CLIP_MODEL,
            pac_checkpoint=pac_checkpoint,
            bert_model=bert_model,
            device=str(choose_hardware(device, "fp32", section="--").device),
        ),
    )
    with located("--metrics"):
        scoring.check_metrics()
    return Request(
        data=data,
        reading=reading,
        split=split,
        max_images=max_images,
        decoding=decoding,
        scoring=scoring,
        compute=ComputeOptions(device, precision, batch_size, decode),
        backend=backend,
        places=OutputPlaces(out, json_file, force),
        table=table,
    )


def prepare_images(
    request: Request, models: Iterable[str], *, decoded_as: str | None = None
) -> tuple[ScoredData, Request]:
    """Return the images, after checks of the output places and the models.

    Args:
        request: The request as made.
        models: Folders and hub ids.
        decoded_as: Model whose own decoding all use; `None`: the one that all share.

    Returns:
        The images, and the request with the scored split and one decoding for all models.
    """
    from captune.evaluation import check_output, load_scored
    from captune.hub import find_model
    from captune.storage import check_files, check_outputs, expand_home

    places, models = request.places, tuple(models)
    read = [expand_home(name) for name in (request.data, *models)]
    # Beside a file of captions, results.csv may be the user's own table.
    read += [path.parent for path in read if path.is_file()]
    check_files(places.json_file, inputs=read, force=places.force)
    check_outputs(places.out, places.json_file, inputs=read, force=places.force)
    if places.out is not None:
        check_output(places.out, force=places.force)
    sources = [find_model(source) for source in models]
    leaders = sources if decoded_as is None else [find_model(decoded_as)]
    decoding = _choose_decoding(request.decoding, leaders)
    scored = load_scored(
        request.data,
        request.reading,
        split=request.split,
        max_images=request.max_images,
        seed=request.scoring.seed,
    )
    for note in scored.notes:
        print_line(f"note: {note}", to_stderr=True)
    scoring = replace(request.scoring, split=scored.split, generate=decoding)
    return scored, replace(request, decoding=decoding, scoring=scoring)


def _choose_decoding(given: GenerateConfig, models: Sequence[str]) -> GenerateConfig:
    """Return one decoding for all models, so that they compare: theirs if they agree."""
    from captune.models import shared_decoding

    own = shared_decoding(models)
    if own is None:
        print_line(
            "note: the models have different decoding settings; captune's defaults and the flags"
            " apply to all of them",
            to_stderr=True,
        )
    return fill_decoding(given, own or {})


def caption_all(
    models: Mapping[str, str], records: Sequence[CaptionRecord], request: Request
) -> CaptionedImages:
    """Return every model's captions of the images."""
    from captune.evaluation import caption_with
    from captune.inference import RunRequest, find_exported

    compute, count = request.compute, len(records)
    loaded = {
        name: model_to_load(
            RunRequest(
                source,
                request.backend or ("torch" if find_exported(source) is None else "auto"),
                count,
                compute.device,
                compute.precision,
            )
        )
        for name, source in models.items()
    }
    total = len(models) * count
    with (
        stopping(lambda: "no scores were written: run the same command again"),
        show_progress("captioning", total, unit="captions") as progress,
    ):
        return caption_with(
            loaded,
            records,
            config=request.decoding,
            compute=request.compute,
            progress=lambda name, _: progress.advance(status=name),
        )


def finish(skipped: Sequence[SkippedImage], scored: ScoredData) -> None:
    """List the images that could not be read; exit with 3 if there are any."""
    if scored.skipped:
        first = scored.skipped[0]
        print_line(
            f"note: the data set names {format_count(len(scored.skipped), 'image')} that cannot"
            " be used;"
            f" the first:"
            f" {first.file or first.image_id} ({first.reason})",
            to_stderr=True,
        )
    for image in skipped[:_MAX_LISTED]:
        print_line(f"not read: {image.file} ({image.reason})", to_stderr=True)
    if skipped:
        print_line(
            f"{format_count(len(skipped), 'image')} not scored: the file cannot be read",
            to_stderr=True,
        )
        raise typer.Exit(FINISHED_WITH_FAILURES)
