"""The formats that captune reads, one file each, in one literal table.

`find` returns what makes a place a data set of its format; the first format that finds something
is read. The order goes from certain (a file with a fixed name) to likely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from captune.data.archives.shards import is_remote, is_shard_pattern
from captune.data.dataset import LoadedData, LoadOptions
from captune.data.names.split_lists import assign_lists
from captune.data.readers.coco import find_coco, read_coco
from captune.data.readers.csv_table import find_table, list_tables, read_header, read_table
from captune.data.readers.flickr import find_flickr, read_flickr
from captune.data.readers.hephaestus import find_hephaestus, read_hephaestus
from captune.data.readers.hub import (
    find_parquet,
    find_saved,
    is_hub_id,
    read_hub,
    read_parquet,
    read_saved,
    stream_rows,
)
from captune.data.readers.imagefolder import find_imagefolder, read_imagefolder
from captune.data.readers.jsonl import find_jsonl, read_records
from captune.data.readers.kaggle import fetch_kaggle, is_kaggle
from captune.data.readers.karpathy import find_karpathy, read_karpathy
from captune.data.readers.saved_run import find_run, read_run
from captune.data.readers.sidecar import find_sidecars, read_sidecars
from captune.data.readers.webdataset import (
    find_webdataset,
    read_shard_urls,
    read_webdataset,
    stream_shard,
)

__all__ = [
    "SOURCES",
    "Source",
    "assign_lists",
    "fetch_kaggle",
    "find_jsonl",
    "find_saved",
    "find_table",
    "is_hub_id",
    "is_kaggle",
    "is_remote",
    "is_shard_pattern",
    "list_tables",
    "read_header",
    "read_hub",
    "read_shard_urls",
    "stream_rows",
    "stream_shard",
]


@dataclass(frozen=True, slots=True)
class Source:
    """One format.

    Attributes:
        looks_for: A readable description of the files that make it.
        find: Returns what was found at a place; `None` when it is not this format.
        read: Reads the place.
    """

    looks_for: str
    find: Callable[[Path], str | None]
    read: Callable[[Path, LoadOptions], LoadedData]


SOURCES: dict[str, Source] = {
    "run": Source("splits.json with splits/train.jsonl", find_run, read_run),
    "imagefolder": Source(
        "metadata.jsonl or metadata.csv with file_name", find_imagefolder, read_imagefolder
    ),
    "saved": Source("a folder of Dataset.save_to_disk", find_saved, read_saved),
    "hephaestus": Source(
        "annotations.zip (with images.zip or images beside it) or annotations/, with uniqueID and"
        " frameID",
        find_hephaestus,
        read_hephaestus,
    ),
    "karpathy": Source(
        "dataset_coco.json or another of Karpathy's files", find_karpathy, read_karpathy
    ),
    "flickr": Source("captions.txt with Images/, or a .token file", find_flickr, read_flickr),
    "coco": Source("annotations/captions_*.json", find_coco, read_coco),
    "webdataset": Source("*.tar with x.jpg and x.txt", find_webdataset, read_webdataset),
    "parquet": Source("*.parquet", find_parquet, read_parquet),
    "jsonl": Source("*.jsonl with an image and captions per line", find_jsonl, read_records),
    "table": Source("*.csv or *.tsv with an image and a caption column", find_table, read_table),
    "sidecar": Source("images with .txt or .caption beside them", find_sidecars, read_sidecars),
}
