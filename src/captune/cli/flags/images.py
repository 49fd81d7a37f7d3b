"""Flags of every command that decodes images."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Decode = Annotated[
    Literal["isolated", "inline"],
    typer.Option(
        help="isolated: decode images in child processes with limits of memory and time, for"
        " images from strangers. inline: in this process. URLs are isolated in either."
    ),
]
