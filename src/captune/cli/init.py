"""`captune init`: a model folder of a named size with random weights, to train from scratch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from captune.cli.flags.groups import takes
from captune.cli.flags.reading import read_options
from captune.errors import ModelError
from captune.progress import print_line
from captune.storage import lock_folder, refuse_existing, require_utf8
from captune.suggest import did_you_mean, quote_words

if TYPE_CHECKING:
    from captune.data import LoadOptions
    from captune.recipe import ModelConfig


class TokenizerKind(StrEnum):
    """Kinds of tokens that a trained tokenizer can have."""

    bpe = "bpe"
    word = "word"


@takes("reading", read_options)
def init(
    size: Annotated[str, typer.Argument(help="A named size: captune models.")],
    out: Annotated[Path, typer.Argument(help="Folder that the model is written to.")],
    *,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or hub id of a tokenizer to use.")
    ] = None,
    train_tokenizer: Annotated[
        str | None, typer.Option(help="Data set; a tokenizer is trained on its training captions.")
    ] = None,
    tokenizer_kind: Annotated[
        TokenizerKind, typer.Option(help="For --train-tokenizer: byte pairs or whole words.")
    ] = TokenizerKind.bpe,
    vocab_size: Annotated[
        int,
        typer.Option(
            min=16, max=1_000_000, help="For --train-tokenizer: maximum number of tokens."
        ),
    ] = 8000,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=16, max=2048, help="Side of the square input in pixels; default: that of the size."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the weights.")] = 42,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that already contains files.")
    ] = False,
    reading: LoadOptions,
) -> None:
    """Create a model of a named size with random weights, as a plain Hugging Face folder."""
    if (tokenizer is None) == (train_tokenizer is None):
        raise ModelError(
            "a new model needs one tokenizer",
            fix="give either --tokenizer DIR or --train-tokenizer DATA (DATA may be: shapes)",
        )
    with lock_folder(out):
        require_utf8(out)
        refuse_existing(out, force=force)
        config = _configure(
            size, tokenizer, kind=tokenizer_kind, vocab_size=vocab_size, image_size=image_size
        )
        captions = _training_captions(train_tokenizer, reading) if train_tokenizer else []
        _write(config, captions, out=out, seed=seed)


def _configure(
    size: str,
    tokenizer: str | None,
    *,
    kind: TokenizerKind,
    vocab_size: int,
    image_size: int | None,
) -> ModelConfig:
    from captune.models import SIZES
    from captune.recipe import ModelConfig, TokenizerConfig

    if size not in SIZES:
        near = did_you_mean(size, SIZES)
        raise ModelError(
            f"unknown model size {size!r}{near}", fix=f"use one of: {', '.join(SIZES)}"
        )
    new_tokenizer = TokenizerConfig(kind=kind.value, vocab_size=vocab_size)
    return ModelConfig(
        size=size, tokenizer=tokenizer, new_tokenizer=new_tokenizer, image_size=image_size
    )


def _write(config: ModelConfig, captions: list[str], *, out: Path, seed: int) -> None:
    from captune.models import new_captioner
    from captune.storage import write_into_folder

    captioner = new_captioner(config, captions, seed=seed)
    _report_lost_captions(captions, captioner.tokenizer)
    write_into_folder(out, captioner.save)
    count = sum(parameter.numel() for parameter in captioner.model.parameters())
    tokens = len(captioner.tokenizer)
    print_line(f"{out}: {config.size}, {count:,} parameters, {tokens:,} tokens")
    checkpoint = quote_words(f"model.checkpoint={out}")
    print_line(f"train it: captune run RECIPE --set model.size=null --set {checkpoint}")


def _training_captions(data: str, reading: LoadOptions) -> list[str]:
    """Return the captions of the training images; of all images if the data set has no splits."""
    from captune.data import load_records

    records = load_records(data, reading).records
    return [
        caption
        for record in records
        if record.split in (None, "train")
        for caption in record.captions
    ]


def _report_lost_captions(captions: list[str], tokenizer: Any) -> None:
    """Report captions that the new tokenizer cannot write; stop if it writes almost none.

    Raises:
        DataError: 90 % of them or more are read back as unknown or without most letters.
    """
    from captune.data import measure_round_trip, refuse_lost_captions
    from captune.models import caption_reader

    trip = measure_round_trip(captions, caption_reader(tokenizer, lower_case=False))
    refuse_lost_captions(trip, where="--train-tokenizer")
    if trip.num_unknown or trip.num_changed:
        print_line(f"note: {trip.describe()}", to_stderr=True)
