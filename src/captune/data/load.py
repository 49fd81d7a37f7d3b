"""Load a data set from a path or name, detecting its format."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.nearest_layout import explain_unknown
from captune.data.readers import (
    SOURCES,
    assign_lists,
    fetch_kaggle,
    find_jsonl,
    find_table,
    is_hub_id,
    is_kaggle,
    is_remote,
    is_shard_pattern,
    list_tables,
    read_hub,
    read_shard_urls,
)
from captune.data.record_store import count_by_split, drop_splits
from captune.data.rows.text import read_json, read_jsonl
from captune.data.shapes.make_shapes import make_shapes
from captune.errors import DataError
from captune.recipe import DataConfig
from captune.records import SPLITS, Split
from captune.storage import expand_home, list_visible, open_regular
from captune.suggest import format_count

DEFAULT_SHAPES = 2000
_MAX_FILES = 12
_MAX_SHAPES = 1_000_000
_DEFAULTS = LoadOptions()
_WITHOUT_COLUMNS = ("run", "hephaestus", "karpathy", "coco", "sidecar", "shapes")


def load_options(config: DataConfig) -> LoadOptions:
    """Return the options of a recipe's `data` section."""
    return LoadOptions(
        format=config.format,
        image_column=config.image_column,
        caption_column=config.caption_column,
        image_root=expand_home(config.image_root) if config.image_root else None,
        allow_outside=config.allow_outside,
        split_files=config.split_files,
        redraw=config.redraw,
        filters=config.filters,
        revision=config.revision,
        streaming=config.streaming,
    )


def load_records(path: str | Path, options: LoadOptions = _DEFAULTS) -> LoadedData:
    """Read a data set.

    When all images have the same split (most hub data sets have only `train`), it is removed, so
    that splits can be drawn.

    Args:
        path: Folder, file, tar shards (`data/{000..003}.tar`, also at a URL), hub id
            (`owner/name[:configuration]`), `kaggle://owner/name`, or `shapes[:COUNT]`, the
            built-in set with COUNT images.
        options: How to read it; by default the format and columns are detected.

    Returns:
        The records, and everything that was skipped.

    Raises:
        DataError: It does not exist, has no known format or no usable image, or a file is broken.
        MissingExtraError: A Kaggle data set is not cached and kagglehub is not installed.
    """
    if not isinstance(path, str | Path):
        raise DataError(
            f"the data set is of type {type(path).__name__}",
            fix="give a folder, a file, a hub id owner/name, kaggle://owner/name, or shapes",
        )
    data = _note_columns(_read(str(path), options), options)
    if not data.records:
        raise _explain_empty(str(path), data)
    if options.redraw:
        data = _ignore_splits(data)
    if options.split_files:
        return assign_lists(data, lists=_resolve_lists(options, root=data.root))
    return _note_unsplit(_drop_single_split(data))


def detect_format(place: Path, options: LoadOptions = _DEFAULTS) -> str:
    """Return the name of the format of a local file or folder.

    Raises:
        DataError: None fits; the error names the files, the nearest layout and what to change.
    """
    for name, source in SOURCES.items():
        if source.find(place) is not None:
            return name
    # When columns are given, a file may have unusual column names.
    if find_jsonl(place, options) is not None:
        return "jsonl"
    if find_table(place, options) is not None:
        return "table"
    _refuse_broken_json(place)
    raise explain_unknown(place)


def check_place(path: str, options: LoadOptions = _DEFAULTS) -> None:
    """Check that a data set on this disk can be read, and what does not depend on its content.

    Args:
        path: As for `load_records`.
        options: As for `load_records`.

    Raises:
        DataError: It does not exist, is empty or a device, or an option cannot be right.
    """
    if not path.strip():
        raise DataError(
            "the path of the data set is empty", fix="give a path, or '.' for this folder"
        )
    if _is_shapes(path, options):
        _count_shapes(path, options)
        return
    if options.format != "auto" and options.format not in (*SOURCES, "hub", "shapes"):
        raise DataError(
            f"unknown data format {options.format!r}",
            fix=f"use one of: auto, {', '.join(SOURCES)}, hub, shapes",
        )
    if options.image_root is not None and not options.image_root.is_dir():
        raise DataError(
            f"no such image folder: {options.image_root}",
            where="data.image_root",
            fix="give the folder that the image names start from",
        )
    for split, name in options.split_files.items():
        # Others may be beside the data, wherever its files turn out to be.
        if expand_home(name).is_absolute() or expand_home(name).exists():
            _check_list(split, expand_home(name))
    place = expand_home(path)
    is_elsewhere = is_kaggle(path) or is_remote(path) or _is_on_hub(path, options)
    if is_elsewhere or (not place.exists() and is_shard_pattern(place)):
        return
    if not place.exists():
        raise DataError(
            f"no such file or folder: {place}",
            fix="give a folder, a file, a hub id owner/name, kaggle://owner/name, or shapes",
        )
    _refuse_unreadable(place)


def _is_shapes(path: str, options: LoadOptions) -> bool:
    return path.partition(":")[0] == "shapes" and options.format in ("auto", "shapes")


def _is_on_hub(path: str, options: LoadOptions) -> bool:
    return options.format == "hub" or (not expand_home(path).exists() and is_hub_id(path))


def _read(path: str, options: LoadOptions) -> LoadedData:
    check_place(path, options)
    if _is_shapes(path, options):
        records = make_shapes(_count_shapes(path, options))
        return LoadedData(tuple(records), format="shapes")
    if is_kaggle(path):
        folder, note = fetch_kaggle(path, version=options.revision)
        place = _step_inside(folder)
        _refuse_unreadable(place)
        data = _read_place(place, options)
        return replace(data, notes=(note, *data.notes))
    if is_remote(path):
        return read_shard_urls(path, options)
    if _is_on_hub(path, options):
        return read_hub(path, options)
    return _read_place(expand_home(path), options)


def _note_columns(data: LoadedData, options: LoadOptions) -> LoadedData:
    """Report columns that are named for a format that has none."""
    named = [name for name in ("image_column", "caption_column") if getattr(options, name)]
    if not named or data.format not in _WITHOUT_COLUMNS:
        return data
    settings = " and ".join(f"data.{name}" for name in named)
    note = f"{settings} not used: the format {data.format!r} has no columns to choose"
    return replace(data, notes=(*data.notes, note))


def _read_place(place: Path, options: LoadOptions) -> LoadedData:
    if not place.exists() and is_shard_pattern(place):
        return SOURCES["webdataset"].read(place, options)
    if options.format != "auto":
        return SOURCES[options.format].read(place, options)
    chosen = _detect_or_guess(place, options)
    data = SOURCES[chosen].read(place, options)
    others = find_table(place, options) if chosen in ("parquet", "jsonl") else None
    if others is None:
        return data
    note = f"not read, because the format is {chosen}: {others} (to read it: --format table)"
    return replace(data, notes=(*data.notes, note))


def _refuse_unreadable(place: Path) -> None:
    if not place.is_dir():
        # Opened once, so that the error names a pipe or a device.
        open_regular(place).close()
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"the folder {place} is empty", fix="give the folder with the images")
    if place.is_file() and place.stat().st_size == 0:
        raise DataError(f"the file {place} is empty: 0 bytes", fix="fetch or write it again")


def _detect_or_guess(place: Path, options: LoadOptions) -> str:
    try:
        return detect_format(place, options)
    except DataError:
        # The reader's error lists the columns, which shows a misspelled one.
        if options.image_column or options.caption_column:
            files = [place] if place.is_file() else list_visible(place)
            if any(path.suffix.lower() in (".jsonl", ".json") for path in files):
                return "jsonl"
            if list_tables(place, options, any_columns=True):
                return "table"
        raise


def _step_inside(folder: Path) -> Path:
    """Return the folder with the data: Kaggle copies often hold a single folder."""
    inside = list_visible(folder)
    if len(inside) == 1 and inside[0].is_dir():
        return _step_inside(inside[0])
    return folder


def _count_shapes(path: str, options: LoadOptions) -> int:
    count = path.partition(":")[2]
    is_count = count.isdecimal() and len(count) < 9 and 0 < int(count) <= _MAX_SHAPES
    if count and not is_count:
        raise DataError(
            f"{path[:60]!r}: {count[:40]!r} is not a number of images",
            fix=f"use shapes, or shapes:COUNT with a COUNT of 1 to {_MAX_SHAPES}",
        )
    if options.filters:
        raise DataError(
            "the built-in shapes have no columns to filter by",
            where="data.filters",
            fix="remove the filter",
        )
    number = int(count) if count else DEFAULT_SHAPES
    return min(number, options.limit or number)


def _explain_empty(path: str, data: LoadedData) -> DataError:
    if not data.skipped:
        return DataError(
            f"the data set {path} is empty: no image with a caption",
            fix="add rows with an image and a caption, or check that this is the right path",
        )
    number, first = len(data.skipped), data.skipped[0]
    reasons = Counter(image.reason for image in data.skipped)
    if set(reasons) == {"no_caption"}:
        return DataError(
            f"no usable image in {path}: {format_count(number, 'image')} without a caption",
            where=f"the first: {first.file}",
            fix="name the column or key with the captions: data.caption_column, or"
            " --caption-column",
        )
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    if set(reasons) == {"remote"}:
        return DataError(
            f"no usable image in {path}: all {number} are URLs, the first: {first.file}",
            fix="download the images first and give their folder: data.image_root, or"
            " --image-root; only tar shards can be read from URLs",
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
            "give the image folder: data.image_root, or --image-root; or, if you trust the data set"
            " with every file that you can read, allow any path: data.allow_outside: true, or"
            " --allow-outside"
        )
    advice = "give the image folder: data.image_root, or --image-root"
    near = [f"{near} instead of {name}" for name, near in data.near_misses.items()]
    return f"{advice}; similar files exist: {', '.join(near)}" if near else advice


def _refuse_broken_json(place: Path) -> None:
    """Raise the error of a JSON file that cannot be read, which every format ignores."""
    if not place.is_file() and not place.is_dir():
        return
    files = [place] if place.is_file() else list_visible(place)
    for path in [path for path in files if path.suffix.lower() in (".json", ".jsonl")][:_MAX_FILES]:
        if path.suffix.lower() == ".json":
            read_json(path)
        else:
            next(read_jsonl(path), None)


def _resolve_lists(options: LoadOptions, *, root: Path | None) -> dict[Split, Path]:
    lists: dict[Split, Path] = {}
    for split, name in options.split_files.items():
        path = expand_home(name)
        beside = root / path if root is not None else path
        lists[split] = beside if not path.exists() and beside.exists() else path
        if not str(name).strip():
            raise _no_list(split, name)
        _check_list(split, lists[split])
    return lists


def _check_list(split: str, path: Path) -> None:
    """Require a file, and not a pipe or a device, which is read once or never ends."""
    if not path.exists() or path.is_dir():
        raise _no_list(split, path)
    try:
        open_regular(path).close()
    except DataError as error:
        raise DataError(error.what, where=_describe_setting(split), fix=error.fix) from error


def _no_list(split: str, name: Path | str) -> DataError:
    return DataError(
        f"the split list {str(name)!r} is not a file",
        where=_describe_setting(split),
        fix="give a file with one image name per line; its path starts from the current folder or"
        " from the data set's",
    )


def _describe_setting(split: str) -> str:
    return f"data.split_files.{split}, or --split-file"


def _drop_single_split(data: LoadedData) -> LoadedData:
    given = count_by_split(data.records)
    if len(given) != 1 or None in given:
        return data
    (only,) = given
    return replace(
        data,
        records=drop_splits(data.records),
        notes=(*data.notes, f"all images are {only}: the data set gives no splits"),
    )


def _ignore_splits(data: LoadedData) -> LoadedData:
    counts = ", ".join(f"{number} {name}" for name, number in data.count_splits().items())
    note = f"the data set's own splits ({counts}) are ignored and drawn again"
    return replace(
        data,
        records=drop_splits(data.records),
        in_two_splits=(),
        notes=(*data.notes, note),
    )


def _note_unsplit(data: LoadedData) -> LoadedData:
    """Report how many images are in no split, and whether they are skipped or drawn.

    They are drawn where the data set gives no images to train on.
    """
    counts = count_by_split(data.records)
    number = counts.get(None, 0)
    if number in (0, len(data.records)):
        return data
    if "train" in counts:
        note = f"{format_count(number, 'image')} skipped: in no split, although others are"
        return replace(data, notes=(*data.notes, note))
    given = " and ".join(name for name in SPLITS if name in counts)
    note = (
        f"{format_count(number, 'image is', plural='images are')} in no split: the splits that the"
        f" data set does not give are drawn from them (it gives only {given})"
    )
    return replace(data, draws_rest=True, notes=(*data.notes, note))
