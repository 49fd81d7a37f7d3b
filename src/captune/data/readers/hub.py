"""Hub data sets, `save_to_disk` folders and Parquet files, read through `datasets`.

Images stay encoded here: they are decoded later, by the code that survives broken files. A hub id
is `owner/name` or `owner/name:configuration`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from captune.data.archives.arrow_process import ArrowPart, ArrowProcess
from captune.data.archives.arrow_sources import (
    ArrowSource,
    HubSource,
    ParquetSource,
    SavedSource,
)
from captune.data.archives.parquet import ParquetLimits
from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions, StreamedImage
from captune.data.names.image_finder import usual_folders
from captune.data.names.safe_names import is_unsafe_name
from captune.data.names.split_names import name_splits, parse_split
from captune.data.rows.captions import read_columns
from captune.data.rows.columns import (
    IMAGE_COLUMNS,
    SPLIT_COLUMNS,
    find_captions,
    find_column,
    read_split,
    require_distinct,
)
from captune.data.rows.filters import require_column
from captune.data.rows.gather import Row, gather_rows, is_number, read_name
from captune.data.rows.image_store import ImageStore, content_digest
from captune.errors import ColumnError, DataError, ImageError
from captune.hub import why_unreachable
from captune.storage import open_regular
from captune.suggest import format_count

# Not ./photos and ../photos: the name of a local folder is not for the hub.
_HUB_ID = re.compile(r"^(?!\.)[\w.-]+/[\w.-]+(?::[\w.-]+)?$")
_ID_COLUMNS = ("image_id", "cocoid", "img_id", "imgid", "__key__")
_GROUP_COLUMNS = ("group",)

LIMITS = ParquetLimits()
"""Applied to Parquet files of the user and of the hub."""


def find_saved(place: Path) -> str | None:
    """Return the file that marks a folder of `Dataset.save_to_disk`, or `None`."""
    if not place.is_dir():
        return None
    if (place / "dataset_dict.json").is_file():
        return "dataset_dict.json"
    if (place / "dataset_info.json").is_file() and (place / "state.json").is_file():
        return "dataset_info.json"
    return None


def find_parquet(place: Path) -> str | None:
    """Return the names of the first Parquet files at a place, or `None`."""
    files = _list_parquet(place)
    return ", ".join(path.name for path in files[:5]) if files else None


def is_hub_id(path: str) -> bool:
    """Return whether a text has the form of a hub id."""
    return _HUB_ID.match(path) is not None


def read_saved(place: Path, options: LoadOptions) -> LoadedData:
    """Read a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    Raises:
        DataError: It is not such a folder, or its columns are not usable.
    """
    return _read_source(SavedSource(place), name="saved", root=place, options=options)


def read_parquet(place: Path, options: LoadOptions) -> LoadedData:
    """Read Parquet files, whose names or folders may give the splits.

    Raises:
        DataError: No file is found, one is broken or unpacks to too much, or the columns are not
            usable.
    """
    files = _list_parquet(place)
    if not files:
        raise DataError(
            f"no .parquet file in {place}",
            fix=CHECK_DATA,
        )
    for path in files:
        open_regular(path).close()
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    by_split: dict[str, list[Path]] = {}
    for path, split in zip(files, name_splits(files, root=root, notes=notes), strict=True):
        by_split.setdefault(split or "", []).append(path.absolute())
    source = ParquetSource(by_split, LIMITS)
    return _read_source(source, name="parquet", root=root, options=options, notes=notes)


def read_hub(path: str, options: LoadOptions) -> LoadedData:
    """Read a data set of the hub, from the local cache if it is there.

    Raises:
        DataError: It does not exist, cannot be reached, needs a script, or its columns are not
            usable.
    """
    no_answer = why_unreachable() if is_hub_id(str(path)) else ""
    source = HubSource(path, options.revision, options.streaming, LIMITS, no_answer=no_answer)
    return _read_source(source, name="hub", root=None, options=options)


def stream_rows(
    place: str | Path, *, column: str | None = None, revision: str | None = None
) -> Generator[StreamedImage]:
    """Yield the images of a Parquet file, a `save_to_disk` folder or a hub data set, row by row.

    Captions are not needed. Nothing is stored: an image is in memory while it is used.

    Args:
        place: A path, or a text with a hub id.
        column: The column with the images; `None`: detected.
        revision: Revision of a hub data set; `None`: the newest.

    Raises:
        DataError: It cannot be read, or which column has the images is not clear.
    """
    with ArrowProcess(_choose_source(place, revision)) as process:
        for split, part in process.open_parts().items():
            image = _find_image_column(part.features, column)
            if image is None:
                raise _no_column("image", part.features, where=part.place)
            root = place.parent if isinstance(place, Path) else None
            for number, row in enumerate(part.select_columns([image])):
                name = f"{split}/{number:09d}" if split else f"{number:09d}"
                yield _stream_cell(row.values[image], name=name, root=root)


def _choose_source(place: str | Path, revision: str | None) -> ArrowSource:
    if isinstance(place, str):
        return HubSource(place, revision, False, LIMITS, no_answer=why_unreachable())
    if place.is_dir():
        return SavedSource(place)
    open_regular(place).close()
    return ParquetSource({"": [place.absolute()]}, LIMITS)


def _stream_cell(value: Any, *, name: str, root: Path | None) -> StreamedImage:
    """Return the image of a cell; a file that it names must be below the data set's folder."""
    if isinstance(value, dict) and value.get("bytes") is None and not value.get("path"):
        value = None
    try:
        content, file = _read_image(value, where=name)
    except DataError as error:
        return StreamedImage(name, error=ImageError("not_an_image", where=error.what))
    if content is not None:
        return StreamedImage(name, content)
    if not file or root is None:
        return StreamedImage(
            name, error=ImageError("missing", where=f"{name}: no image in the row")
        )
    if is_unsafe_name(file):
        return StreamedImage(name, error=ImageError("outside", where=f"{name}: {file}"))
    return StreamedImage(name, root / file)


def _list_parquet(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() == ".parquet" else []
    below = [path for path in place.glob("*/*.parquet") if _may_hold_data(path.parent.name)]
    paths = sorted([*place.glob("*.parquet"), *below])
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def _may_hold_data(folder: str) -> bool:
    return folder == "data" or parse_split(folder) is not None


def _read_source(
    source: ArrowSource,
    *,
    name: str,
    root: Path | None,
    options: LoadOptions,
    notes: list[str] | None = None,
) -> LoadedData:
    notes = [] if notes is None else notes
    store = ImageStore(options.memory_limit)
    base = options.image_root or root
    with ArrowProcess(source) as process:
        parts = process.open_parts()
        # nlphuji/flickr30k is one part, "test", whose rows name their splits in a column.
        split_columns = SPLIT_COLUMNS if len(parts) == 1 else ()
        rows = (
            row
            for split, part in parts.items()
            for row in _iter_rows(
                part,
                split=split,
                columns=_find_columns(
                    part.features, options=options, where=part.place, split_columns=split_columns
                ),
                options=options,
                notes=notes,
                store=store,
            )
        )
        data = gather_rows(
            rows,
            options,
            format=name,
            root=root or Path(),
            folders=usual_folders(base) if base else (),
            notes=notes,
        )
    kept = f"{format_count(store.num_files, 'image')} stored as files in {store.folder}"
    return replace(data, root=root, notes=(*data.notes, kept) if store.num_files else data.notes)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that are read; `None` or empty: there is none."""

    image: str
    captions: tuple[str, ...]
    image_id: str | None
    group: str | None
    split: str | None

    def list_wanted(self) -> list[str]:
        """Return the names of those that exist."""
        wanted = (self.image, *self.captions, self.image_id, self.group, self.split)
        return [name for name in wanted if name]


def _iter_rows(
    part: ArrowPart,
    *,
    split: str,
    columns: _Columns,
    options: LoadOptions,
    notes: list[str],
    store: ImageStore,
) -> Iterator[Row]:
    for column in options.filters:
        require_column(column, part.features)
    keep = list(part.features) if options.keep_columns else columns.list_wanted()
    part = part.select_columns(list(dict.fromkeys([*keep, *options.filters])))
    if part.unreadable:
        named = ", ".join(f"{name} ({kind})" for name, kind in part.unreadable.items())
        notes.append(f"columns of a type that is not supported skipped: {named}")
    given = parse_split(split) if split else None
    if split and given is None and columns.split is None:
        notes.append(f"the split {split!r} is not train, val or test: its images have no split")
    for number, row in enumerate(part):
        line = row.values
        if row.number == 0:
            _require_columns(line, columns, where=row.place)
        image_id = read_name(line.get(columns.image_id)) if columns.image_id else ""
        where = f"{row.place}, row {row.number}{image_id and f', image_id {image_id}'}"
        content, name = _read_image(line[columns.image], where=where)
        digest = content_digest(content) if content is not None else ""
        # Named by content: a data set with one caption per row repeats the image in each row, and
        # the paths in a Parquet file are often all the same.
        name = "-".join(filter(None, (digest[:16], name)))
        if not name:
            name = f"{split or 'data'}-{number:06d}"
        yield Row(
            name=name,
            captions=read_columns(line, columns.captions, where=where),
            keep=partial(store.keep, content, digest) if content is not None else None,
            image_id=image_id,
            split=(read_split(line) if columns.split else None) or given,
            group=(read_name(line.get(columns.group)) or None) if columns.group else None,
            columns=line,
            where=where,
        )


def _require_columns(line: Mapping[str, Any], columns: _Columns, *, where: str) -> None:
    """Refuse a file without the columns of the first one: `embeddings.parquet` beside images."""
    absent = [name for name in (columns.image, *columns.captions) if name not in line]
    if absent:
        raise ColumnError(
            f"no column {absent[0]!r}, which the first file of the data set has",
            where=where,
            fix="move this file out of the folder if it does not belong to the data set, or rename"
            " its column",
            columns=tuple(line),
        )


def _find_columns(
    features: Any, *, options: LoadOptions, where: str, split_columns: Sequence[str]
) -> _Columns:
    names = list(features)
    image = _find_image_column(features, options.image_column)
    texts = [name for name in names if name not in (image, "__key__", "__url__")]
    texts = [name for name in texts if _is_text(features[name])]
    split = find_column(texts, None, usual=split_columns)
    texts = [name for name in texts if name != find_column(texts, None, usual=SPLIT_COLUMNS)]
    captions = find_captions(names if options.caption_column else texts, options.caption_column)
    if not captions and options.caption_column is None and len(texts) == 1:
        captions = (texts[0],)
    if image is None:
        raise _no_column("image", features, where=where)
    if not captions:
        raise _no_column("caption", features, where=where)
    require_distinct(image, captions, where=where)
    return _Columns(
        image,
        captions,
        image_id=find_column(names, None, usual=_ID_COLUMNS),
        group=find_column(names, None, usual=_GROUP_COLUMNS),
        split=split,
    )


def _no_column(kind: str, names: Iterable[str], *, where: str) -> ColumnError:
    columns = tuple(names)
    return ColumnError(
        f"which column is the {kind}? The columns are: {', '.join(columns)}",
        where=where,
        fix=f"name it: data.{kind}_column, or --{kind}-column",
        columns=columns,
    )


def _find_image_column(features: Mapping[str, Any], asked: str | None) -> str | None:
    """Return the column with the images: the one that is named, of an image type, or usual."""
    names = list(features)
    images = [name for name in names if _is_image(features[name])]
    return find_column(
        names,
        asked or (images[0] if len(images) == 1 else None),
        usual=[name for name in IMAGE_COLUMNS if not images or name in images],
    )


def _is_image(feature: Any) -> bool:
    import datasets

    # Parquet from other programs has plain bytes, or {"bytes", "path"}, without an image type.
    feature = getattr(feature, "feature", feature)
    return (
        isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and "bytes" in feature)
        or getattr(feature, "dtype", None) in ("binary", "large_binary", "binary_view")
    )


def _is_text(feature: Any) -> bool:
    if isinstance(feature, list):
        return bool(feature) and _is_text(feature[0])
    if isinstance(feature, dict):
        return any(_is_text(value) for value in feature.values())
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _is_text(inner)
    return getattr(feature, "dtype", None) in ("string", "large_string", "string_view")


def _read_image(value: Any, *, where: str) -> tuple[bytes | None, str]:
    """Return the encoded image, or `None`, and its file name, which may be empty."""
    if isinstance(value, list) and len(value) == 1:
        # Chats may be about several images, so their images are lists.
        (value,) = value
    if value is None:
        return None, ""
    if isinstance(value, str):
        return None, value
    if is_number(value):
        return None, read_name(value)
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
        if value is None and (path is None or isinstance(path, str)):
            # Without either, the row has no image: it is listed, like null.
            return None, path or ""
    if not isinstance(value, bytes):
        raise DataError(
            f"an image must be its encoded bytes or a path, not {type(value).__name__}",
            where=where,
            fix="name the column of the images: data.image_column, or --image-column",
        )
    return value, Path(path).name if path else ""
