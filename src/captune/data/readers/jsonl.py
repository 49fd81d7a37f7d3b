"""JSON records: one object an image, as captune writes them and as most people write their own.

Keys: `image` (or `file_name`, `image_path`, ...; a path or `{"path": ...}`), `captions` or
`caption` (one or a list), and when there: `image_id`, `split`, `group`. `.json` files that hold a
list of such objects are read too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.data.dataset import LoadedData, LoadOptions
from captune.data.rows.columns import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    find_captions,
    find_column,
    find_columns,
)
from captune.data.rows.gather import Row, gather_rows, parse_split, read_name
from captune.data.rows.image_finder import usual_folders
from captune.data.rows.text import read_head, read_json, read_jsonl
from captune.errors import DataError

_SUFFIXES = (".jsonl", ".ndjson", ".json")


def find_jsonl(place: Path) -> str | None:
    """The record files at `place`; `None` when there are none."""
    files = _list_files(place)
    return ", ".join(path.name for path in files) if files else None


def read_records(place: Path, options: LoadOptions) -> LoadedData:
    """Read record files; those named train, val or test are splits.

    Raises:
        DataError: No file, a broken line, or a line without image or caption.
    """
    files = [place] if place.is_file() else _list_files(place)
    if not files:
        raise DataError(f"no .jsonl or .json file with an image and a caption a line in {place}")
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    rows = (row for path in files for row in _iter_rows(path, options=options, notes=notes))
    folders = (options.image_root,) if options.image_root else usual_folders(root)
    return gather_rows(rows, options, format="jsonl", root=root, folders=folders, notes=notes)


def read_captions(value: object, *, where: str) -> tuple[str, ...]:
    """Captions from a string, a list of strings, or a list of objects with `raw`, `text`, ...

    Raises:
        DataError: It is something else.
    """
    if value is None:
        return ("",)
    if isinstance(value, str):
        return (value,)
    if isinstance(value, dict):
        if isinstance(value.get("raw"), str):
            # COCO has 616,767 of these: looking for a name in each takes longer than the JSON.
            return (value["raw"],)
        column = find_column(list(value), None, usual=("raw", *CAPTION_COLUMNS))
        if column is not None:
            return read_captions(value[column], where=where)
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in read_captions(item, where=where))
    raise DataError(
        f"a caption must be text or a list of texts, not {type(value).__name__}: {value!r:.60}",
        where=where,
    )


def _list_files(place: Path) -> list[Path]:
    paths = [place] if place.is_file() else sorted(place.iterdir())
    return [path for path in paths if _is_record_file(path)]


def _is_record_file(path: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() == ".json":
        # A list of objects; a single object is another format.
        return read_head(path, size=256).lstrip().startswith("[") and _has_keys(path)
    return _has_keys(path)


def _has_keys(path: Path) -> bool:
    try:
        _, first = next(_iter_objects(path, notes=[]))
    except (DataError, StopIteration):
        return False
    return (
        find_column(list(first), None, usual=IMAGE_COLUMNS) is not None
        and find_captions(list(first), None) != ()
    )


def _iter_objects(path: Path, *, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() != ".json":
        for number, line in read_jsonl(path, notes=notes):
            yield f"{path}, line {number}", line
        return
    values = read_json(path)
    if not isinstance(values, list):
        raise DataError("not a list of records", where=str(path))
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(f"not an object: {value!r:.60}", where=f"{path}, record {number}")
        yield f"{path}, record {number}", value


def _iter_rows(path: Path, *, options: LoadOptions, notes: list[str]) -> Iterator[Row]:
    file_split = parse_split(path.stem)
    for where, line in _iter_objects(path, notes=notes):
        image, captions = find_columns(list(line), options=options, where=where)
        split = line.get("split")
        name, source = _read_image(line[image], where=where)
        if source is None and isinstance(line.get("image_base64"), str):
            source = _read_base64(line["image_base64"], where=where)
        yield Row(
            name=str(line.get("file_name") or name),
            captions=read_captions([line[name] for name in captions], where=where),
            image=source,
            image_id=read_name(line.get("image_id")),
            split=(parse_split(split) if isinstance(split, str) else None) or file_split,
            group=read_name(line.get("group")) or None,
            columns=line,
        )


def _read_image(value: object, *, where: str) -> tuple[str, bytes | None]:
    if isinstance(value, str):
        return value, None
    if isinstance(value, dict):
        name, content = value.get("path"), value.get("bytes")
        if isinstance(content, str):
            return str(name or ""), _read_base64(content, where=where)
        if isinstance(name, str):
            return name, None
    raise DataError(f"an image must be a path, not {value!r:.60}", where=where)


def _read_base64(text: str, *, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"image_base64 is not base64: {error}", where=where) from error
