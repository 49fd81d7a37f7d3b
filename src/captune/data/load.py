"""A data set from a name: looks at what is there and reads it in the format it finds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.images import IMAGE_SUFFIXES
from captune.data.readers import (
    SOURCES,
    assign_lists,
    fetch_kaggle,
    is_hub_id,
    is_kaggle,
    is_remote,
    is_shard_pattern,
    list_tables,
    read_header,
    read_hub,
    read_shard_urls,
)
from captune.data.rows.text import read_head, read_json, read_jsonl
from captune.data.shapes.make_shapes import make_shapes
from captune.errors import DataError
from captune.recipe import DataConfig
from captune.records import Split

DEFAULT_SHAPES = 2000
_MANY_FILES = 12
_MOST_LETTERS = 200
_DEFAULTS = LoadOptions()


def load_options(config: DataConfig) -> LoadOptions:
    """How a recipe's `data` section wants the data set read."""
    return LoadOptions(
        format=config.format,
        image_column=config.image_column,
        caption_column=config.caption_column,
        image_root=Path(config.image_root).expanduser() if config.image_root else None,
        allow_outside=config.allow_outside,
        split_files=config.split_files,
        filters=config.filters,
        revision=config.revision,
        streaming=config.streaming,
    )


def load_records(path: str | Path, options: LoadOptions = _DEFAULTS) -> LoadedData:
    """Read a data set.

    A data set whose images all have one and the same split (most hub data sets are one `train`)
    has no splits: they are taken away, so that they can be drawn.

    Args:
        path: Folder, file, tar shards (`data/{000..003}.tar`, also at a URL), hub id
            (`owner/name[:configuration]`), `kaggle://owner/name`, or `shapes[:COUNT]`, the
            built-in set with COUNT images.
        options: How to read it; by default it is looked at.

    Returns:
        The records, and by name everything that was kept out.

    Raises:
        DataError: Nothing there, no known format, a broken file, or no usable image.
        MissingExtraError: A Kaggle data set without the package kagglehub.
    """
    data = _read(str(path), options)
    if not data.records:
        raise _nothing_usable(str(path), data)
    if options.split_files:
        return assign_lists(data, lists=_resolve_lists(options, root=data.root))
    return _note_homeless(_drop_single_split(data))


def detect_format(place: Path) -> str:
    """Name of the format of a local file or folder.

    Raises:
        DataError: None fits; what was looked for and what is there are listed.
    """
    for name, source in SOURCES.items():
        if source.find(place) is not None:
            return name
    _blame_broken_json(place)
    looked = "\n".join(f"           {name}: {source.looks_for}" for name, source in SOURCES.items())
    raise DataError(
        f"no known data set format in {place}; found {_describe(place)}",
        where=f"looked for\n{looked}",
        fix="unpack it and give the folder; of Hephaestus, the folder with its zips"
        if place.suffix.lower() == ".zip"
        else "name it with --format, or the columns with --image-column and --caption-column",
    )


def _read(path: str, options: LoadOptions) -> LoadedData:
    name, _, count = path.partition(":")
    if name == "shapes" and options.format in ("auto", "shapes"):
        return _read_shapes(count, path=path, options=options)
    if options.format != "auto" and options.format not in (*SOURCES, "hub", "shapes"):
        raise DataError(
            f"unknown data format {options.format!r}",
            fix=f"one of: auto, {', '.join(SOURCES)}, hub, shapes",
        )
    if options.image_root is not None and not options.image_root.is_dir():
        raise DataError(f"no such image folder: {options.image_root}", where="data.image_root")
    if is_kaggle(path):
        folder, note = fetch_kaggle(path, version=options.revision)
        data = _read_place(_step_inside(folder), options)
        return replace(data, notes=(note, *data.notes))
    if is_remote(path):
        return read_shard_urls(path, options)
    place = Path(path).expanduser()
    if options.format == "hub" or (not place.exists() and is_hub_id(path)):
        return read_hub(path, options)
    return _read_place(place, options)


def _read_place(place: Path, options: LoadOptions) -> LoadedData:
    if not place.exists() and is_shard_pattern(place):
        return SOURCES["webdataset"].read(place, options)
    if not place.exists():
        raise DataError(
            f"no such file or folder: {place}",
            fix="give a folder, a file, a hub id owner/name, kaggle://owner/name, or shapes",
        )
    _refuse_empty(place)
    chosen = options.format if options.format != "auto" else _detect_or_guess(place, options)
    return SOURCES[chosen].read(place, options)


def _refuse_empty(place: Path) -> None:
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"the folder {place} is empty", fix="give the folder that holds the images")
    if place.is_file() and place.stat().st_size == 0:
        raise DataError(f"the file {place} is empty: 0 bytes", fix="fetch or write it again")


def _detect_or_guess(place: Path, options: LoadOptions) -> str:
    try:
        return detect_format(place)
    except DataError:
        # With both columns named, a table needs no usual column names.
        if options.image_column and options.caption_column:
            if place.suffix.lower() in (".jsonl", ".json"):
                return "jsonl"
            if list_tables(place, any_columns=True):
                return "table"
        raise


def _step_inside(folder: Path) -> Path:
    """The folder with the data: Kaggle copies often hold one folder and nothing else."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if len(inside) == 1 and inside[0].is_dir():
        return _step_inside(inside[0])
    return folder


def _read_shapes(count: str, *, path: str, options: LoadOptions) -> LoadedData:
    if count and (not count.isdigit() or int(count) == 0):
        raise DataError(
            f"{path!r}: {count!r} is no number of images", fix="shapes, or shapes:COUNT"
        )
    if options.filters:
        raise DataError("the built-in shapes have no columns to filter by", where="data.filters")
    number = int(count) if count else DEFAULT_SHAPES
    records = make_shapes(min(number, options.limit or number))
    return LoadedData(tuple(records), format="shapes")


def _nothing_usable(path: str, data: LoadedData) -> DataError:
    if not data.skipped:
        return DataError(f"the data set {path} is empty: no image with a caption")
    number, first = len(data.skipped), data.skipped[0]
    reasons = Counter(image.reason for image in data.skipped)
    if set(reasons) == {"no_caption"}:
        return DataError(
            f"no usable image in {path}: not one of its {number} images has a caption",
            where=f"the first: {first.file}",
            fix="name the column or key that holds them: data.caption_column, or --caption-column",
        )
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if set(reasons) == {"remote"}:
        return DataError(
            f"no usable image in {path}: all {number} are addresses, the first: {first.file}",
            fix="download the images first, and give their folder: data.image_root, or"
            " --image-root; tar shards are read from URLs",
        )
    places = Counter(image.detail for image in data.skipped if image.detail)
    return DataError(
        f"no usable image in {path}: {number} skipped ({counted}),"
        f" the first: {first.file} ({first.reason})",
        where="; ".join(f"{count} x {place}" for place, count in places.most_common(3)),
        fix=_advise_absent(data, reasons),
    )


def _advise_absent(data: LoadedData, reasons: Counter[str]) -> str:
    if reasons["outside"]:
        return (
            "give the images' folder: data.image_root, or --image-root; or, where you trust the"
            " data set with every file you can read, allow it: data.allow_outside: true, or"
            " --allow-outside"
        )
    advice = "give the images' folder: data.image_root, or --image-root"
    near = [f"{near} where {name} is named" for name, near in data.near_misses.items()]
    return f"{advice}; there is {', '.join(near)}" if near else advice


def _blame_broken_json(place: Path) -> None:
    """A JSON file that cannot be read is looked past by every format; here it is named."""
    files = [place] if place.is_file() else sorted(place.glob("*.json*"))[:_MANY_FILES]
    for path in files:
        if path.suffix.lower() == ".json":
            read_json(path)
        elif path.suffix.lower() == ".jsonl":
            next(read_jsonl(path), None)


def _resolve_lists(options: LoadOptions, *, root: Path | None) -> dict[Split, Path]:
    lists: dict[Split, Path] = {}
    for split, name in options.split_files.items():
        path = Path(name).expanduser()
        beside = root / path if root is not None else path
        lists[split] = beside if not path.exists() and beside.exists() else path
    return lists


def _drop_single_split(data: LoadedData) -> LoadedData:
    given = {record.split for record in data.records}
    if len(given) != 1 or given == {None}:
        return data
    (only,) = given
    return replace(
        data,
        records=tuple(replace(record, split=None) for record in data.records),
        notes=(*data.notes, f"all images are {only}: the data set gives no splits"),
    )


def _note_homeless(data: LoadedData) -> LoadedData:
    """Says of given splits whom they leave out: nobody trains on those, or is scored on them."""
    number = sum(record.split is None for record in data.records)
    if number in (0, len(data.records)):
        return data
    note = f"{number} images are in no split, though others are: they are left out"
    return replace(data, notes=(*data.notes, note))


def _describe(place: Path) -> str:
    if place.is_file():
        return f"a file of {place.stat().st_size} bytes{_describe_columns(place)}"
    paths = sorted(place.iterdir())
    if not paths:
        return "an empty folder"
    images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    others = [path for path in paths if path.suffix.lower() not in IMAGE_SUFFIXES]
    names = [
        path.name + "/" * path.is_dir() + _describe_columns(path) for path in others[:_MANY_FILES]
    ]
    shown = ", ".join(names) + (", ..." if len(others) > _MANY_FILES else "")
    return "; ".join(part for part in (f"{images} images without captions", shown) if part)


def _describe_columns(path: Path) -> str:
    """What a table or a file of records calls its columns; nothing of other files."""
    names: list[str] = []
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        names = read_header(read_head(path), path=path)
    elif path.is_file() and path.suffix.lower() == ".jsonl":
        names = list(next(read_jsonl(path), (0, {}))[1])
    return f" (columns: {', '.join(names)[:_MOST_LETTERS]})" if names else ""
