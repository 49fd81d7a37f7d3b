"""A run's own splits: `splits.json` and `splits/{train,val,test}.jsonl` of `save_splits`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.saved_splits import load_splits
from captune.errors import DataError

_MARKS_OF_RUN = ("stages.json", "recipe.yaml")


def find_run(place: Path) -> str | None:
    """Return the name of the file that marks saved splits, or a run that lacks them, or `None`."""
    if _has_splits(place):
        return "splits.json"
    # No other reader knows what a run's folder lacks: its tables would be taken for the data.
    is_run = place.is_dir() and all((place / name).is_file() for name in _MARKS_OF_RUN)
    return _MARKS_OF_RUN[0] if is_run else None


def _has_splits(place: Path) -> bool:
    return place.is_dir() and (place / "splits.json").is_file() and (place / "splits").is_dir()


def read_run(place: Path, options: LoadOptions) -> LoadedData:
    """Read saved splits.

    Raises:
        DataError: There are none, they are broken, or filters are given: columns are not saved.
    """
    if not _has_splits(place):
        again = "; write them again: captune run RECIPE --from prepare --only prepare"
        more = again if find_run(place) else ""
        raise DataError(
            f"no splits.json with a folder splits/ in {place}",
            fix=f"give the folder of a run, or of captune data split{more}",
        )
    if options.filters:
        raise DataError(
            f"the saved splits in {place} have no columns to filter by",
            where="data.filters, or --filter",
            fix="filter the data set that they were drawn from, or remove the filter",
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
