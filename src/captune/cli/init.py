"""`captune init`: a model folder of a named size with random weights, to train from scratch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from captune.errors import ModelError, OutputError
from captune.storage import refuse_existing


class TokenizerKind(StrEnum):
    """Sorts of tokens that a trained tokenizer can have."""

    bpe = "bpe"
    word = "word"


def init(
    size: Annotated[str, typer.Argument(help="A named size: captune models.")],
    out: Annotated[Path, typer.Argument(help="Folder that the model is written to.")],
    *,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id of a tokenizer to use.")
    ] = None,
    train_tokenizer: Annotated[
        str | None, typer.Option(help="Data set on whose training captions one is trained.")
    ] = None,
    tokenizer_kind: Annotated[
        TokenizerKind, typer.Option(help="For --train-tokenizer: byte pairs or whole words.")
    ] = TokenizerKind.bpe,
    vocab_size: Annotated[
        int, typer.Option(min=16, max=1_000_000, help="For --train-tokenizer: tokens at most.")
    ] = 8000,
    image_size: Annotated[
        int | None,
        typer.Option(min=16, max=2048, help="Side of the input in pixels; default: the size's."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights.")] = 42,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds files.")
    ] = False,
) -> None:
    """Make a model of a named size with random weights, as a plain Hugging Face folder."""
    if (tokenizer is None) == (train_tokenizer is None):
        raise ModelError(
            "a new model needs one tokenizer",
            fix="give either --tokenizer DIR or --train-tokenizer DATA (DATA may be: shapes)",
        )
    _check_folder(out, force=force)

    from captune.hub import quiet_transformers
    from captune.models import SIZES, new_captioner
    from captune.recipe import ModelConfig, TokenizerConfig

    if size not in SIZES:
        raise ModelError(f"unknown model size {size!r}", fix=f"use one of: {', '.join(SIZES)}")
    new_tokenizer = TokenizerConfig(kind=tokenizer_kind.value, vocab_size=vocab_size)
    config = ModelConfig(
        size=size, tokenizer=tokenizer, new_tokenizer=new_tokenizer, image_size=image_size
    )
    captions = _training_captions(train_tokenizer) if train_tokenizer else []
    captioner = new_captioner(config, captions, seed=seed)
    with quiet_transformers():
        captioner.save(out)
    count = sum(parameter.numel() for parameter in captioner.model.parameters())
    typer.echo(f"{out}: {size}, {count:,} parameters, {len(captioner.tokenizer):,} tokens")
    typer.echo(f"train it: captune run RECIPE --set model.size=null --set model.checkpoint={out}")


def _check_folder(out: Path, *, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(f"{str(out)!r} is a file", fix="give a folder")
    if not force:
        refuse_existing(out)


def _training_captions(data: str) -> list[str]:
    """Captions of the training images, of all images where the data set gives no splits."""
    from captune.data import load_records

    records = load_records(data).records
    return [
        caption
        for record in records
        if record.split in (None, "train")
        for caption in record.captions
    ]
