"""`captune bench train|caption|data|score`: speed on this machine, beside the machine's limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captune.cli.app import stopping
from captune.cli.flags.decoding import (
    Backend,
    Device,
    Precision,
    takes_decoding,
)
from captune.cli.flags.groups import takes
from captune.cli.flags.images import Decode
from captune.cli.flags.name_lists import split_names
from captune.cli.flags.reading import read_options
from captune.cli.scoring.inputs import Tokenize
from captune.errors import located
from captune.progress import print_line
from captune.recipe import GenerateConfig
from captune.storage import check_files, expand_home
from captune.suggest import format_count

if TYPE_CHECKING:
    from captune.benchmark import CaptionSubject
    from captune.data import LoadOptions
    from captune.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Measure speed against the machine's limit.")

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder, run's folder or hub id; or a named size (captune models), which gets random"
        " weights.",
    ),
]
DataOption = Annotated[str, typer.Option("--data", help="Folder, file, hub id, or shapes[:COUNT].")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
Images = Annotated[int, typer.Option(min=1, help="Maximum number of images used.")]
Seconds = Annotated[
    float, typer.Option(min=0.0, max=86_400.0, help="Minimum time of each measurement.")
]
CaptionBatch = Annotated[int, typer.Option(min=1, help="Images captioned at once.")]
MicroBatchSize = Annotated[int, typer.Option(min=1, max=4096, help="Images per forward pass.")]
Accumulate = Annotated[int, typer.Option(min=1, max=256, help="Micro batches per optimizer step.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=1024,
        help="Processes that decode images.",
        show_default="one per core, at most 8",
    ),
]


@app.command()
@takes("reading", read_options)
def train(
    model: Model,
    *,
    data: DataOption,
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Part that is not trained; repeat it, or write a,b."),
    ] = None,
    max_captions: Annotated[
        int | None, typer.Option(min=1, help="Captions per image and epoch; default: all.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Use less memory but more time.")
    ] = False,
    micro_batch_size: MicroBatchSize = 8,
    accumulate: Accumulate = 1,
    images: Images = 64,
    seconds: Seconds = 20.0,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    json_file: Json = None,
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Time real training steps, with all captions of an image in one row, and cached features.

    The first figures count everything from the start, encoding a frozen vision part included; the
    steady ones leave out the first step.
    """
    check_files(json_file, inputs=[expand_home(data)], force=force)
    from captune.benchmark import load_subject, measure_training, read_subjects

    records = read_subjects(data, reading, max_images=images, needs_captions=True)
    frozen = [part for text in freeze or () for part in split_names(text)]
    recipe = _recipe(
        train={
            "micro_batch_size": micro_batch_size,
            "global_batch_size": micro_batch_size * accumulate,
            "device": device,
            "precision": precision,
            "gradient_checkpointing": gradient_checkpointing,
        },
        data={"max_captions": max_captions, "num_workers": workers},
    )
    with stopping(lambda: "nothing was written"):
        captioner = load_subject(model, records)
        captioner.freeze(frozen)
        speed = measure_training(captioner, records, recipe=recipe, seconds=seconds, say=_note)
    _note(f"limit: {speed.limit.describe()}")
    figures = speed.as_json()
    steady = figures["steady"]
    print_line(
        f"steady: {steady['captions_per_s']:.4g} captions/s, {steady['images_per_s']:.4g} images/s,"
        f" {_percent(figures['share_of_limit'])} of the machine's limit"
    )
    print_line(
        f"from the start: {figures['captions_per_s']:.4g} captions/s"
        f" ({figures['setup_seconds']:.1f} s of setup); waiting for images:"
        f" {_percent(steady['wait_share'])}; peak memory {figures['peak_memory_mb']:,.0f} MB"
    )
    asked = {
        "model": model,
        "freeze": frozen,
        "micro_batch_size": micro_batch_size,
        "accumulate": accumulate,
        "num_images": len(records),
        "gradient_checkpointing": gradient_checkpointing,
    }
    _write(json_file, figures, asked)


@app.command()
@takes_decoding
@takes("reading", read_options)
def caption(
    model: Model,
    *,
    data: DataOption,
    backend: Backend = "auto",
    batch_size: CaptionBatch = 16,
    images: Images = 64,
    seconds: Seconds = 10.0,
    decode: Decode = "isolated",
    device: Device = "auto",
    precision: Precision = "auto",
    json_file: Json = None,
    force: Force = False,
    reading: LoadOptions,
    decoding: GenerateConfig,
) -> None:
    """Time captioning in batches, and one image at a time, on the way of `captune caption`.

    A model whose text side was never trained generates exactly 20 tokens per caption, or
    --max-new-tokens if that is given.
    """
    check_files(json_file, inputs=[expand_home(data)], force=force)
    from captune.benchmark import load_caption_subject, measure_captioning, read_subjects
    from captune.hardware import choose_hardware
    from captune.inference import RunRequest

    # An impossible device is refused before the data set is read.
    choose_hardware(device, precision, section="--")
    records = read_subjects(data, reading, max_images=images, needs_captions=False)
    request = RunRequest(model, backend, len(records), device, precision)
    with stopping(lambda: "nothing was written"):
        subject = load_caption_subject(request, records, say=_note)
        _note(subject.model.describe())
        config = _complete(decoding, subject)
        speed = measure_captioning(
            subject,
            records,
            config=config,
            batch_size=batch_size,
            decode=decode,
            seconds=seconds,
        )
    _note(f"limit: {speed.limit.describe()}")
    figures = speed.as_json()
    latency = figures["latency_ms"]
    print_line(
        f"{figures['images_per_s']:.4g} images/s in batches of {batch_size},"
        f" {_percent(figures['share_of_limit'])} of the machine's limit;"
        f" {figures['tokens_per_image']:.1f} tokens per image"
    )
    print_line(
        f"one image at a time: median {latency['p50']:.0f} ms, 95 % within {latency['p95']:.0f} ms;"
        f" peak memory {figures['peak_memory_mb']:,.0f} MB"
    )
    _list_failures(speed.failures)
    asked = {
        "model": model,
        "backend": backend,
        "runs": subject.model.describe(),
        "batch_size": batch_size,
        "decode": decode,
        "decoding": config.model_dump(),
    }
    _write(json_file, figures, asked)


@app.command(name="data")
@takes("reading", read_options)
def time_data(
    data: Annotated[str, typer.Argument(help="Folder, file, hub id, or shapes[:COUNT].")],
    *,
    image_size: Annotated[
        int | None,
        typer.Option(min=16, max=2048, help="Side of the square input of a named size."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Model whose training steps use the images: as for bench train.")
    ] = "blip-tiny",
    epochs: Annotated[int, typer.Option(min=2, max=1000, help="Epochs to read.")] = 3,
    micro_batch_size: MicroBatchSize = 8,
    images: Images = 500,
    seconds: Seconds = 5.0,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "auto",
    json_file: Json = None,
    force: Force = False,
    reading: LoadOptions,
) -> None:
    """Time the reader of training: the first epoch, later ones, and how long a step waits."""
    check_files(json_file, inputs=[expand_home(data)], force=force)
    from captune.benchmark import load_subject, measure_data, read_subjects

    records = read_subjects(data, reading, max_images=images, needs_captions=True)
    recipe = _recipe(
        train={
            "micro_batch_size": micro_batch_size,
            "global_batch_size": micro_batch_size,
            "device": device,
            "precision": precision,
        },
        data={"num_workers": workers},
    )
    with stopping(lambda: "nothing was written"):
        captioner = load_subject(model, records, image_size=image_size)
        speed = measure_data(
            captioner, records, recipe=recipe, epochs=epochs, seconds=seconds, say=_note
        )
    figures = speed.as_json()
    print_line(
        f"first epoch {figures['first_epoch_images_per_s']:.4g} images/s, later ones"
        f" {figures['images_per_s']:.4g} images/s"
    )
    print_line(
        f"a training step of {model} waits {_percent(figures['wait_share'])} of its time"
        f" ({figures['training_images_per_s']:.4g} images/s)"
    )
    _list_failures(speed.failures)
    _write(json_file, figures, {"data": data, "model": model, "image_size": image_size})


@app.command()
def score(
    *,
    references: Annotated[
        Path,
        typer.Option(help="Human captions: COCO annotations, JSON of id to list, or JSONL."),
    ],
    predictions: Annotated[
        Path,
        typer.Option(help="One caption per image: COCO results, JSON of id to caption, or JSONL."),
    ],
    metrics: Annotated[
        str, typer.Option(help="Metrics and groups, each timed alone; separated by commas.")
    ] = "bleu,rouge_l,cider",
    tokenize: Tokenize = "pycocoevalcap",
    json_file: Json = None,
    force: Force = False,
) -> None:
    """Time the metrics on captions that are in files."""
    check_files(json_file, inputs=[references, predictions], force=force)
    from captune.benchmark import measure_scoring
    from captune.metrics import read_predicted_captions, read_references, resolve_metrics

    asked = split_names(metrics)
    with located("--metrics"):
        resolve_metrics(asked)
    figures = measure_scoring(
        read_references(references),
        read_predicted_captions(predictions),
        metrics=asked,
        tokenize=tokenize,
    ).as_json()
    for name, taken in figures["seconds"].items():
        print_line(f"{name}: {taken:.3g} s")
    print_line(
        f"{figures['images_per_s']:,.0f} images/s, {figures['captions_per_s']:,.0f} captions/s;"
        f" peak memory {figures['peak_memory_mb']:,.0f} MB"
    )
    _write(json_file, figures, {"metrics": asked, "tokenize": tokenize})


def _recipe(*, train: dict[str, Any], data: dict[str, Any]) -> Recipe:
    """Return a recipe without an end or trackers; the flags have checked its values."""
    from captune.recipe import Recipe

    endless = {"epochs": 1e6, "trackers": []}
    return Recipe.model_validate({"name": "bench", "train": {**train, **endless}, "data": data})


def _complete(decoding: GenerateConfig, subject: CaptionSubject) -> GenerateConfig:
    """Fill in the model's own decoding; random weights get an exact number of tokens."""
    config = subject.model.complete(decoding)
    if not subject.has_random_text():
        return config
    is_given = "max_new_tokens" in decoding.model_fields_set
    tokens = config.max_new_tokens if is_given else 20
    _note(f"the text side of the model was never trained: exactly {tokens} tokens per caption")
    return config.model_copy(update={"min_new_tokens": tokens, "max_new_tokens": tokens})


def _note(line: str) -> None:
    print_line(line, to_stderr=True)


def _percent(share: float | None) -> str:
    return "unknown share" if share is None else f"{100 * share:.0f} %"


def _list_failures(failures: dict[str, str]) -> None:
    if failures:
        image_id, reason = next(iter(failures.items()))
        _note(
            f"{format_count(len(failures), 'image')} could not be read; the first: {image_id}"
            f" ({reason})"
        )


def _write(json_file: Path | None, figures: dict[str, Any], asked: dict[str, Any]) -> None:
    from captune import __version__
    from captune.software import installed_version
    from captune.storage import write_json

    if json_file is None:
        return
    versions = {name: installed_version(name) for name in ("torch", "transformers", "openvino")}
    made_by = {"captune": __version__, **versions}
    write_json(json_file, {"schema": 1, **figures, "settings": asked, "versions": made_by})
