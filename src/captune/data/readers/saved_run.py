"""A run's own splits: `splits.json` and `splits/{train,val,test}.jsonl`, as `save_splits` wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.saved_splits import load_splits
from captune.errors import DataError


def find_run(place: Path) -> str | None:
    """The file that makes a folder one with saved splits; `None` when it is none."""
    if place.is_dir() and (place / "splits.json").is_file() and (place / "splits").is_dir():
        return "splits.json"
    return None


def read_run(place: Path, options: LoadOptions) -> LoadedData:
    """Read saved splits.

    Raises:
        DataError: There are none, they are broken, or filters are given: the columns are gone.
    """
    if find_run(place) is None:
        raise DataError(f"no splits.json with a folder splits/ in {place}")
    if options.filters:
        raise DataError(
            f"the saved splits in {place} have no columns to filter by",
            where="data.filters, or --filter",
            fix="filter the data set that they were drawn from, or take the filter away",
        )
    records = load_splits(place)
    if options.image_root is not None:
        records = [
            replace(record, image=options.image_root / record.file_name)
            if isinstance(record.image, Path)
            else record
            for record in records
        ]
    return LoadedData(tuple(records[: options.limit]), format="run", root=place)
