"""Hub data sets, `save_to_disk` folders and Parquet files, read through `datasets`.

Images stay encoded here: they are decoded later, by the code that survives broken files. A hub id
is `owner/name` or `owner/name:configuration`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from captune.data.archives.parquet import is_whole, open_parquet
from captune.data.dataset import LoadedData, LoadOptions
from captune.data.names.image_finder import usual_folders
from captune.data.names.split_names import name_splits, parse_split
from captune.data.readers.jsonl import read_captions
from captune.data.rows.columns import IMAGE_COLUMNS, find_captions, find_column
from captune.data.rows.filters import require_column
from captune.data.rows.gather import Row, gather_rows, read_name
from captune.data.rows.image_store import ImageStore, content_digest
from captune.errors import DataError
from captune.hub import find_fault, hub_failures, nearest_cached

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(?::[\w.-]+)?$")
_ID_COLUMNS = ("image_id", "cocoid", "img_id", "imgid", "__key__")
_GROUP_COLUMNS = ("group",)


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
    import datasets

    try:
        loaded = datasets.load_from_disk(str(place))
    except _load_errors() as error:
        raise DataError(f"cannot load the saved data set {place}: {_first_line(error)}") from error
    return _read_parts(_split_parts(loaded), name="saved", root=place, options=options)


def read_parquet(place: Path, options: LoadOptions) -> LoadedData:
    """Read Parquet files, whose names or folders may give the splits.

    Raises:
        DataError: No file is found, one is broken or unpacks to too much, or the columns are not
            usable.
    """
    files = _list_parquet(place)
    if not files:
        raise DataError(f"no .parquet file in {place}")
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    by_split: dict[str, list[Path]] = {}
    for path, split in zip(files, name_splits(files, root=root, notes=notes), strict=True):
        by_split.setdefault(split or "", []).append(path)
    try:
        # Read in place: `datasets` would write a second copy into its cache.
        parts = {split: open_parquet(paths) for split, paths in by_split.items()}
        return _read_parts(parts, name="parquet", root=root, options=options, notes=notes)
    except _load_errors() as error:
        raise DataError(
            f"cannot read the Parquet files: {_first_line(error)}",
            where=next((str(path) for path in files if not is_whole(path)), str(place)),
            fix="fetch it again",
        ) from error


def read_hub(path: str, options: LoadOptions) -> LoadedData:
    """Read a data set of the hub, from the local cache if it is there.

    Raises:
        DataError: It does not exist, cannot be reached, needs a script, or its columns are not
            usable.
    """
    import datasets

    name, _, configuration = path.partition(":")
    try:
        loaded = datasets.load_dataset(
            name, configuration or None, revision=options.revision, streaming=options.streaming
        )
        return _read_parts(_split_parts(loaded), name="hub", root=None, options=options)
    except _load_errors() as error:
        raise _explain(error, path=path) from error


def _list_parquet(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.suffix.lower() == ".parquet" else []
    below = [path for path in place.glob("*/*.parquet") if _may_hold_data(path.parent.name)]
    return [path for path in sorted([*place.glob("*.parquet"), *below]) if path.is_file()]


def _may_hold_data(folder: str) -> bool:
    return folder == "data" or parse_split(folder) is not None


def _load_errors() -> tuple[type[Exception], ...]:
    # Everything that `datasets` and the hub client below it raise.
    from datasets.exceptions import DatasetsError

    return (KeyError, DatasetsError, *hub_failures())


def _split_parts(loaded: Any) -> dict[str, Any]:
    return dict(loaded) if hasattr(loaded, "keys") else {"": loaded}


def _read_parts(
    parts: dict[str, Any],
    *,
    name: str,
    root: Path | None,
    options: LoadOptions,
    notes: list[str] | None = None,
) -> LoadedData:
    notes = [] if notes is None else notes
    store = ImageStore(options.memory_limit)
    rows = (
        row
        for split, part in parts.items()
        for row in _iter_rows(part, split=split, options=options, notes=notes, store=store)
    )
    base = options.image_root or root
    data = gather_rows(
        rows,
        options,
        format=name,
        root=root or Path(),
        folders=usual_folders(base) if base else (),
        notes=notes,
    )
    kept = f"{store.num_files} images are stored as files in {store.folder}"
    return replace(data, root=root, notes=(*data.notes, kept) if store.num_files else data.notes)


def _iter_rows(
    part: Any, *, split: str, options: LoadOptions, notes: list[str], store: ImageStore
) -> Iterator[Row]:
    import datasets

    features = part.features or part._resolve_features().features
    image, captions = _find_columns(features, options=options, split=split)
    id_column = find_column(list(features), None, usual=_ID_COLUMNS)
    group_column = find_column(list(features), None, usual=_GROUP_COLUMNS)
    for column in options.filters:
        require_column(column, features)
    wanted = (image, *captions, id_column, group_column, *options.filters)
    keep = list(features) if options.keep_columns else [column for column in wanted if column]
    part = part.select_columns(list(dict.fromkeys(keep)))
    if isinstance(features[image], datasets.Image):
        part = part.cast_column(image, datasets.Image(decode=False))
    given = parse_split(split) if split else None
    if split and given is None:
        notes.append(f"the split {split!r} is not train, val or test: its images have no split")
    for number, line in enumerate(part):
        where = f"{split or 'data'}, row {number}"
        content, name = _read_image(line[image], where=where)
        digest = content_digest(content) if content is not None else ""
        # Named by content: a data set with one caption per row repeats the image in each row, and
        # the paths in a Parquet file are often all the same.
        name = "-".join(filter(None, (digest[:16], name)))
        if not name:
            name = f"{split or 'data'}-{number:06d}"
        yield Row(
            name=name,
            captions=read_captions([line[name] for name in captions], where=where),
            keep=partial(store.keep, content, digest) if content is not None else None,
            image_id=read_name(line[id_column]) if id_column else "",
            split=given,
            group=(read_name(line[group_column]) or None) if group_column else None,
            columns=line,
        )


def _find_columns(
    features: Any, *, options: LoadOptions, split: str
) -> tuple[str, tuple[str, ...]]:
    names = list(features)
    images = [name for name in names if _is_image(features[name])]
    image = find_column(
        names,
        options.image_column or (images[0] if len(images) == 1 else None),
        usual=[name for name in IMAGE_COLUMNS if not images or name in images],
    )
    texts = [name for name in names if name not in (image, "__key__", "__url__")]
    texts = [name for name in texts if _is_text(features[name])]
    captions = find_captions(names if options.caption_column else texts, options.caption_column)
    if not captions and options.caption_column is None and len(texts) == 1:
        captions = (texts[0],)
    for kind, is_found in (("image", image is not None), ("caption", bool(captions))):
        if not is_found:
            raise DataError(
                f"which column is the {kind}? The columns are: {', '.join(names)}",
                where=f"split {split}" if split else "",
                fix=f"name it: data.{kind}_column, or --{kind}-column",
            )
    assert image is not None
    return image, captions


def _is_image(feature: Any) -> bool:
    import datasets

    # Parquet from other programs has plain bytes, or {"bytes", "path"}, without an image type.
    return (
        isinstance(feature, datasets.Image)
        or (isinstance(feature, dict) and "bytes" in feature)
        or getattr(feature, "dtype", None) in ("binary", "large_binary")
    )


def _is_text(feature: Any) -> bool:
    if isinstance(feature, list):
        return bool(feature) and _is_text(feature[0])
    if isinstance(feature, dict):
        return any(_is_text(value) for value in feature.values())
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return _is_text(inner)
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _read_image(value: Any, *, where: str) -> tuple[bytes | None, str]:
    """Return the encoded image, or `None`, and its file name, which may be empty."""
    if value is None:
        return None, ""
    if isinstance(value, str):
        return None, value
    path = None
    if isinstance(value, dict):
        value, path = value.get("bytes"), value.get("path")
        if value is None and isinstance(path, str):
            return None, path
    if not isinstance(value, bytes):
        raise DataError(f"not an image: {type(value).__name__}", where=where)
    return value, Path(path).name if path else ""


def _explain(error: Exception, *, path: str) -> DataError:
    message = _first_line(error)
    if "script" in message.lower():
        return DataError(
            f"{path} needs a loading script, which `datasets` no longer runs",
            fix="download its files and give captune the folder, or use a Parquet copy of it",
        )
    if "config" in message.lower():
        return DataError(
            f"cannot load {path}: {message}", fix="name the configuration: owner/name:CONFIGURATION"
        )
    repo = path.partition(":")[0]
    named = f"no folder {path} exists, and captune cannot load the hub data set {path}"
    fault = find_fault(error, repo, kind="dataset")
    if fault is not None:
        return DataError(f"{named}: {fault.what}", fix=fault.fix)
    # `datasets` drops the causes of some errors, so only the text is left to search.
    near = "" if "gated" in message else nearest_cached(repo, "dataset")
    return DataError(
        f"{named}{near}: {message}",
        fix="check the spelling and the network; log in with `hf auth login` when it is gated;"
        " a local folder needs its full path",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n") or [""])[0] or type(error).__name__
