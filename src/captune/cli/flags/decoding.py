"""Flags of every command that decodes: Hugging Face's settings with dashes, device, precision.

Names, types, defaults and help come from `GenerateConfig`, so a flag cannot differ from the recipe
key of the same name.
"""

from __future__ import annotations

import functools
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from captune.cli.flags.groups import Command, takes
from captune.errors import RecipeError
from captune.inference import DecodingOptions, decoding_config
from captune.progress import print_line
from captune.recipe import GenerateConfig

if TYPE_CHECKING:
    from captune.inference import RunRequest

ModelArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="Folder saved by captune or transformers, or a hub id."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Images captioned at once.", show_default="by the free memory"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, xpu or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(
        help="fp32: captions equal those of plain transformers. bf16, fp16: faster if the"
        " hardware supports them. auto: the fastest whose captions equal fp32's for 98 of 100"
        " photographs."
    ),
]
Backend = Annotated[
    Literal["auto", "torch", "openvino", "onnx"],
    typer.Option(
        help="What runs the model. openvino, onnx: converted once, then kept. auto: openvino where"
        " it is installed and was measured to be faster, else torch."
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Hub branch, tag or commit of the model.", show_default="newest")
]

_PANEL = "Decoding; defaults: the saved model's settings, else those shown"
# A panel of their own: beside `--no-...`, 80 columns would cut the long names of the others.
_SWITCHES = "Decoding switches"
# Every field has a plain type that the command line supports.
_TYPES: MappingProxyType[str, Any] = MappingProxyType(
    {name: field.annotation for name, field in GenerateConfig.model_fields.items()}
)


def takes_decoding(command: Command) -> Command:
    """Add the decoding flags to a command; it gets them as one `decoding: GenerateConfig`.

    A flag that is not given keeps the config's default; sampling without `--num-beams` uses one
    beam. Invalid values stop the command with an error that names all of them.
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
        rich_help_panel=_SWITCHES if kind is bool else _PANEL,
    )
    return Annotated[kind | None, option]


def _default(value: object) -> str | bool:
    if value == "":
        return False
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _config(given: dict[str, Any]) -> GenerateConfig:
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return decoding_config(cast(DecodingOptions, chosen))
    except RecipeError as error:
        flags = "; ".join(_as_flags(part) for part in error.what.split("; "))
        raise RecipeError(flags, fix="see the decoding flags in --help") from error


def _as_flags(fault: str) -> str:
    name, colon, rest = fault.partition(":")
    return f"--{name.replace('_', '-')}{colon}{rest}" if name in _TYPES else fault


def model_to_load(request: RunRequest) -> str:
    """Return the model that `--backend` names; torch is imported only if it must convert one."""
    from captune.inference import known_model

    known = known_model(request)
    if known is not None:
        return known
    from captune.export import choose_model

    return choose_model(request, say=functools.partial(print_line, to_stderr=True))
