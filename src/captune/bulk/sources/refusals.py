"""Inputs that do not fit the outputs of a run, refused before anything is downloaded or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captune.bulk.settings import ChosenOutputs
from captune.bulk.sources.find import list_archives
from captune.errors import OutputError
from captune.inference import is_folder
from captune.net import is_url


def refuse_inputs(outputs: ChosenOutputs, inputs: Sequence[str]) -> None:
    """Refuse files beside images that are URLs, and shards among the archives of the input.

    Raises:
        OutputError: An input is a URL, and an output is beside its image; or the next run would
            caption the shards that this one writes.
    """
    url = next((text for text in inputs if is_url(text)), None)
    if url is not None and outputs.per_image:
        raise OutputError(
            f"--to {outputs.per_image[0]} needs image files on disk, not a URL: {url}",
            fix="--to jsonl or --to csv",
        )
    out = next((place for name, place in outputs.collected if name == "webdataset"), None)
    if out is None or not is_folder(out):
        return
    for folder in map(Path, inputs):
        if is_folder(folder) and folder.samefile(out) and list_archives(folder):
            raise OutputError(
                f"{out} holds the archives to caption: the next run would caption its own shards",
                where="--out",
                fix="choose another folder",
            )
