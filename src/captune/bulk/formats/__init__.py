"""The output formats of a bulk run: one file per image, or many rows in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from captune.bulk.formats.interface import CollectedFormat, PerImageFormat
from captune.bulk.formats.parquet_file import ParquetFile
from captune.bulk.formats.row_file import RowFile
from captune.bulk.formats.tar_shards import TarShards
from captune.bulk.formats.text_files import SidecarName, TextFiles
from captune.bulk.formats.xmp_files import EmbeddedMetadata, XmpFiles

PerImageName = Literal["txt", "caption", "xmp", "metadata"]
CollectedName = Literal["jsonl", "csv", "webdataset", "parquet"]
PER_IMAGE_NAMES: tuple[PerImageName, ...] = get_args(PerImageName)
COLLECTED_NAMES: tuple[CollectedName, ...] = get_args(CollectedName)


def open_per_image(name: PerImageName, *, naming: SidecarName = "stem") -> PerImageFormat:
    """Return the format of one file per image that `--to` names."""
    if name == "xmp":
        return XmpFiles(naming)
    return EmbeddedMetadata() if name == "metadata" else TextFiles(name, naming)


def open_collected(name: CollectedName, path: Path) -> CollectedFormat:
    """Return the collected format that `--to` names, at a file or folder."""
    if name == "webdataset":
        return TarShards(path)
    return ParquetFile(path) if name == "parquet" else RowFile(name, path)
