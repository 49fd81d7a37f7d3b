"""Flags of every command that decodes images."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Decode = Annotated[
    Literal["isolated", "inline"],
    typer.Option(
        help="isolated: decode images in child processes with limits on memory and time, for"
        " untrusted images. inline: in this process. Images from URLs are always isolated."
    ),
]
