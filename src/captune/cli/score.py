"""`captune score`: scores of predictions in files, alone or side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captune.cli.flags.name_lists import split_names
from captune.cli.scoring.files import ScoreRequest, score_files
from captune.cli.scoring.inputs import InputOptions, Tokenize
from captune.cli.scoring.output import (
    print_notes,
    print_skipped,
    write_per_image,
    write_scores,
)
from captune.cli.scoring.table import TableFlag, choose_say, print_table
from captune.metrics import METRIC_GROUPS, METRICS
from captune.storage import check_files

METRICS_HELP = (
    f"Metrics and groups, separated by commas. Groups: {', '.join(METRIC_GROUPS)}."
    f" Metrics: {', '.join(METRICS)}."
)


def score(
    references: Annotated[
        Path,
        typer.Option(help="Human captions: COCO annotations, JSON of id to list, or JSONL."),
    ],
    predictions: Annotated[
        list[Path],
        typer.Option(
            help="One caption per image: COCO results, JSON of id to caption, or JSONL. Repeat it"
            " to compare several files; every pair of them is tested."
        ),
    ],
    *,
    metrics: Annotated[str, typer.Option(help=METRICS_HELP)] = "default",
    tokenize: Tokenize = "pycocoevalcap",
    table: TableFlag = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write scores and intervals to this file.")
    ] = None,
    per_image: Annotated[
        Path | None, typer.Option(help="Write one JSON line per image to this file.")
    ] = None,
    only_predicted: Annotated[
        bool,
        typer.Option("--only-predicted", help="Score only the images of the first file."),
    ] = False,
    document_frequencies: Annotated[
        Path | None,
        typer.Option(help="CIDEr's document frequencies; default: counted in the references."),
    ] = None,
    samples: Annotated[
        list[Path] | None,
        typer.Option(
            help="Several captions per image by the model of --predictions: adds div, mbleu and"
            " self_cider. JSON of id to list, or JSONL; one file for each of --predictions."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images, for clip_score and pac_s: named by id, or as in"
            " the references. Not needed if a file of captions gives their paths."
        ),
    ] = None,
    clip_model: Annotated[
        str | None,
        typer.Option(
            # A hub id would be cut at 80 columns.
            help="CLIP model, hub id or folder.",
            show_default="OpenAI's ViT-B/32",
        ),
    ] = None,
    pac_checkpoint: Annotated[
        str | None, typer.Option(help="Weights of PAC-S: a file from its authors, or a folder.")
    ] = None,
    bert_model: Annotated[
        str | None,
        typer.Option(help="Model of BERTScore, hub id or folder.", show_default="roberta-large"),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="Objects in the images, for chair: COCO instances, JSON or JSONL."),
    ] = None,
    object_words: Annotated[
        Path | None, typer.Option(help="Words for chair, one class per line; default: COCO's 80.")
    ] = None,
    training: Annotated[
        Path | None,
        typer.Option(
            help="Human captions of the training set: adds the score of the best constant caption"
            " and the share of copied predictions."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device of the models.")] = "cpu",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps counted references and image features."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=1, max=100_000, help="Bootstrap resamples per 95 % interval.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Score captions in files against human captions."""
    from captune.metrics import list_skipped

    read = (references, *predictions, *(samples or ()), training, images)
    read += (document_frequencies, objects, object_words)
    check_files(json_file, per_image, inputs=read, force=force)
    options = InputOptions(
        document_frequencies=document_frequencies,
        images=images,
        samples=samples or [],
        clip_model=clip_model,
        pac_checkpoint=pac_checkpoint,
        bert_model=bert_model,
        objects=objects,
        object_words=object_words,
        device=device,
        cache=cache,
    )
    asked = split_names(metrics) + ["samples"] * bool(samples)
    scored = score_files(
        ScoreRequest(
            references,
            predictions,
            metrics=tuple(asked),
            inputs=options,
            training=training,
            is_partial=only_predicted,
            tokenize=tokenize,
            resampling=(resamples, seed),
        )
    )
    say = choose_say(table)
    print_table(scored.evaluation, table)
    print_notes(scored, say)
    print_skipped(list_skipped(asked, scored.inputs), say)
    if json_file:
        write_scores(json_file, scored)
    if per_image:
        write_per_image(per_image, scored.evaluation)
