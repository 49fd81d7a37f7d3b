"""Flags of every command that decodes: how, with Hugging Face's names and dashes, and on what.

Names, types, defaults and help come from `GenerateConfig`, so that a flag cannot differ from the
recipe key of the same name.
"""

from __future__ import annotations

import inspect
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

import typer

from captune.cli.flags.groups import Command, takes
from captune.errors import RecipeError
from captune.inference import DecodingOptions, decoding_config
from captune.recipe import GenerateConfig

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Folder saved by captune or transformers, or a hub id."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images captioned at once.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, xpu or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(
        help="fp32: captions equal plain transformers'. bf16, fp16: faster where the hardware has"
        " them. auto: the fastest of them."
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Hub branch, tag or commit.", show_default="newest")
]

_PANEL = "Decoding; defaults: what the model was saved with, else those shown"
# Every field is of a plain type that the command line knows.
_TYPES: MappingProxyType[str, Any] = MappingProxyType(
    {name: field.annotation for name, field in GenerateConfig.model_fields.items()}
)


def takes_decoding(command: Command) -> Command:
    """A command with the decoding flags added; it gets them as one `decoding: GenerateConfig`.

    A flag that is not given keeps the config's default; sampling without `--num-beams` uses one
    beam. Values that do not fit stop the command with all of them named.
    """

    def read_decoding(**given: Any) -> GenerateConfig:
        return _config(given)

    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(name, kind)
        )
        for name, kind in _TYPES.items()
    ]
    read_decoding.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return takes("decoding", read_decoding)(command)


def _flag(name: str, kind: type) -> Any:
    field = GenerateConfig.model_fields[name]
    option = typer.Option(
        help=field.description,
        show_default=_default(field.default),
        rich_help_panel=_PANEL,
    )
    return Annotated[kind | None, option]


def _default(value: object) -> str | bool:
    if value == "":
        return False
    return str(value)


def _config(given: dict[str, Any]) -> GenerateConfig:
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return decoding_config(cast(DecodingOptions, chosen))
    except RecipeError as error:
        flags = "; ".join(_as_flags(part) for part in error.what.split("; "))
        raise RecipeError(flags, fix="the decoding flags stand in --help") from error


def _as_flags(fault: str) -> str:
    name, colon, rest = fault.partition(":")
    return f"--{name.replace('_', '-')}{colon}{rest}" if name in _TYPES else fault
