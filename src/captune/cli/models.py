"""`captune models`: the families that can be loaded, and the sizes that can be created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from captune.progress import open_console

if TYPE_CHECKING:
    from rich.table import Table


def models(
    *,
    vocab_size: Annotated[
        int,
        typer.Option(
            min=64, max=1_000_000, help="Number of tokens assumed for the parameter counts."
        ),
    ] = 30_522,
) -> None:
    """List the model families and the named sizes of `captune init` and `model.size`."""
    console = open_console()
    console.print(_families())
    console.print(f"\nNamed sizes; parameters with a vocabulary of {vocab_size:,} tokens:\n")
    console.print(_sizes(vocab_size))


def count_parameters(size: str, tokenizer: Any) -> int:
    """Return the number of parameters of a named size with a tokenizer; allocates no weights.

    Raises:
        ModelError: The size is unknown.
    """
    import torch

    from captune.models import build_size

    with torch.device("meta"):
        captioner = build_size(size, tokenizer)
    return sum(parameter.numel() for parameter in captioner.model.parameters())


def _families() -> Table:
    from captune.models import FAMILIES

    table = _table("family", "models")
    for name, family in FAMILIES.items():
        table.add_row(name, family.about)
    return table


def _sizes(vocab_size: int) -> Table:
    from captune.models import SIZES

    table = _table("size", "parameters", "image", "description")
    for name, size in SIZES.items():
        count = count_parameters(name, _stand_in_tokenizer(vocab_size))
        side = size.vision["image_size"]
        table.add_row(name, f"{count / 1e6:.1f} M", f"{side} px", size.about)
    return table


def _stand_in_tokenizer(vocab_size: int) -> Any:
    """Return a tokenizer with that many tokens; which ones does not affect the count."""
    from tokenizers import Tokenizer
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]")
    words = [*special, *(f"w{number}" for number in range(vocab_size - len(special)))]
    vocabulary = {word: number for number, word in enumerate(words)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(tokenizer_models.WordLevel(vocabulary, unk_token="[UNK]")),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[DEC]",
    )


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
