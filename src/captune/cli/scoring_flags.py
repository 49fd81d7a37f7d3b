"""Flags that `captune evaluate` and `captune compare` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

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
