"""Flags that choose what is written where: outputs, handling of existing captions, wording."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from captune.cli.bulk.clean_flag import CLEAN_ALL
from captune.cli.flags.groups import Command, takes
from captune.errors import RecipeError
from captune.storage import expand_home

if TYPE_CHECKING:
    from captune.bulk import Existing, OutputName, SidecarName, Wording

_PANEL, _WORDS = "Output", "Wording"

To = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FORMAT",
        help="stdout: path and caption. txt, caption: a text file beside each image. xmp: an XMP"
        " file. metadata: inside JPEG, PNG and WebP files. jsonl, csv: one file (--out) or the"
        " screen. parquet: one file. webdataset: tar shards in a folder. Repeat it for several.",
        show_default="by the ending of --out, else stdout",
        rich_help_panel=_PANEL,
    ),
]
Out = Annotated[
    # Not a Path, which drops a slash at the end.
    str | None,
    typer.Option(
        metavar="PATH",
        help="File for jsonl, csv or parquet; folder for webdataset or several formats. NEW/ is a"
        " folder in any case. Either may be in object storage (s3://, gs://).",
        rich_help_panel=_PANEL,
    ),
]
ExistingFlag = Annotated[
    Literal["skip", "overwrite", "append", "prepend", "error"] | None,
    typer.Option(
        help="What happens to an image that already has a caption: skip, overwrite, append,"
        " prepend or error.",
        show_default="skip, and refuse captions of another model or decoding",
        rich_help_panel=_PANEL,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Caption again what already has a caption: --existing overwrite.",
        rich_help_panel=_PANEL,
    ),
]
SidecarNameFlag = Annotated[
    Literal["stem", "full"],
    typer.Option(
        "--sidecar-name", help="stem: photo.txt; full: photo.jpg.txt.", rich_help_panel=_PANEL
    ),
]
Prefix = Annotated[str, typer.Option(help="Text before each caption.", rich_help_panel=_WORDS)]
Suffix = Annotated[str, typer.Option(help="Text after each caption.", rich_help_panel=_WORDS)]
Template = Annotated[
    str | None,
    typer.Option(
        help="Text with {caption}, {name} and {folder} of the image.", rich_help_panel=_WORDS
    ),
]
MaxChars = Annotated[
    int | None,
    typer.Option(
        min=1, help="Maximum characters; captions end at a whole word.", rich_help_panel=_WORDS
    ),
]
Clean = Annotated[
    str | None,
    typer.Option(
        metavar="[STEP,...]",
        help="Remove boilerplate (such as 'a picture of') and repeated phrases: boilerplate,"
        f" repeat or {CLEAN_ALL}, the default.",
        rich_help_panel=_WORDS,
    ),
]


@dataclass(frozen=True, slots=True)
class Writing:
    """What the flags chose.

    Attributes:
        to: Output formats.
        out: File or folder.
        out_is_folder: Whether it ends with a slash.
        existing: What happens to an image with a caption; `None`: not chosen.
        naming: How files beside images are named.
        wording: How captions are changed before they are written.
    """

    to: tuple[OutputName, ...]
    out: Path | None
    out_is_folder: bool
    existing: Existing | None
    naming: SidecarName
    wording: Wording

    def chosen(self) -> dict[str, Any]:
        """Return the fields of `BulkSettings` that the flags set."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def takes_writing(command: Command) -> Command:
    """Add the flags to a command; it gets them as one `writing: Writing`."""
    return takes("writing", _read)(command)


def _read(
    *,
    to: To = None,
    out: Out = None,
    existing: ExistingFlag = None,
    force: Force = False,
    sidecar_name: SidecarNameFlag = "stem",
    prefix: Prefix = "",
    suffix: Suffix = "",
    template: Template = None,
    max_chars: MaxChars = None,
    clean: Clean = None,
) -> Writing:
    from captune.bulk import Wording, ends_as_folder, read_clean_steps, read_output_names

    if out == "":
        raise RecipeError("--out is empty", fix="give a file or a folder, or '.' for this folder")
    if force and existing not in (None, "overwrite"):
        raise RecipeError(
            f"--force means --existing overwrite, not {existing}", fix="give one of them"
        )
    steps: Any = ()
    if clean is not None:
        steps = read_clean_steps("" if clean == CLEAN_ALL else clean)
    return Writing(
        to=read_output_names(to or ()),
        out=None if out is None else expand_home(out),
        out_is_folder=out is not None and ends_as_folder(out),
        existing="overwrite" if force else existing,
        naming=sidecar_name,
        wording=Wording(prefix, suffix, template, max_chars, steps),
    )
