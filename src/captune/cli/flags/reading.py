"""Flags of every command that reads a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from captune.data import LoadOptions
    from captune.records import Split

# A copy: the import of the table of sources would slow down the help.
FORMATS = (
    *("auto", "run", "imagefolder", "saved", "hephaestus", "karpathy", "flickr", "coco"),
    *("webdataset", "parquet", "jsonl", "table", "sidecar", "hub", "shapes"),
)

_PANEL = "Reading the data"

Format = Annotated[
    str,
    typer.Option(
        help=f"auto: detected; or one of: {', '.join(FORMATS[1:])}.",
        rich_help_panel=_PANEL,
    ),
]
ImageColumn = Annotated[
    str | None, typer.Option(help="Column with the image.", rich_help_panel=_PANEL)
]
CaptionColumn = Annotated[
    str | None, typer.Option(help="Column with the captions.", rich_help_panel=_PANEL)
]
ImageRoot = Annotated[
    Path | None, typer.Option(help="Folder of the images.", rich_help_panel=_PANEL)
]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Allow image names that lead outside the data set's folder.",
        rich_help_panel=_PANEL,
    ),
]
SplitFile = Annotated[
    list[str] | None,
    typer.Option(
        help="train=FILE, val=FILE or test=FILE: a list of images. May be repeated.",
        rich_help_panel=_PANEL,
    ),
]
Redraw = Annotated[
    bool,
    typer.Option(
        "--redraw",
        help="Ignore the data set's own splits and draw new ones.",
        rich_help_panel=_PANEL,
    ),
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        help="COLUMN=VALUE: keep rows with this value; repeat it to allow several.",
        rich_help_panel=_PANEL,
    ),
]


def read_options(
    *,
    format: Format = "auto",
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    image_root: ImageRoot = None,
    allow_outside: AllowOutside = False,
    split_file: SplitFile = None,
    redraw: Redraw = False,
    filters: Filter = None,
) -> LoadOptions:
    """Return how a data set is read, from its flags.

    Raises:
        DataError: A value of `--split-file` or `--filter` is malformed.
    """
    from captune.data import LoadOptions

    return LoadOptions(
        format=format,
        image_column=image_column,
        caption_column=caption_column,
        image_root=image_root,
        allow_outside=allow_outside,
        split_files=parse_split_files(split_file or ()),
        redraw=redraw,
        filters=parse_filters(filters or ()),
    )


def parse_split_files(values: Sequence[str]) -> Mapping[Split, Path]:
    """Return the lists that `--split-file` names, by split.

    Raises:
        DataError: A value is not SPLIT=FILE with a known split.
    """
    from captune.errors import DataError
    from captune.records import SPLITS

    files: dict[Split, Path] = {}
    for value in values:
        name, _, path = value.partition("=")
        known = next((split for split in SPLITS if split == name.strip()), None)
        if known is None or not path:
            raise DataError(
                f"--split-file {value!r} is not SPLIT=FILE", fix="train=FILE, val=FILE or test=FILE"
            )
        files[known] = Path(path)
    return files


def parse_filters(values: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the values that `--filter` keeps, by column.

    Raises:
        DataError: A value is not COLUMN=VALUE.
    """
    from captune.errors import DataError

    filters: dict[str, list[str]] = {}
    for value in values:
        column, is_given, kept = value.partition("=")
        if not is_given or not column.strip():
            raise DataError(
                f"--filter {value!r} is not COLUMN=VALUE", fix="write it as corrupted=0"
            )
        filters.setdefault(column.strip(), []).append(kept)
    return filters
