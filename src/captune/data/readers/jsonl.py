"""JSON records: one object per image, the format of captune and of most custom data sets.

Keys: `image` (or `file_name`, `image_path`, ...; a path or `{"path": ...}`), `captions` or
`caption` (one or a list), and optionally `image_id`, `split`, `group`. `.json` files with such
lines, a list of such objects, or one object whose keys name the images, are read too, and so are
chats.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions
from captune.data.names.image_finder import name_from_root, usual_folders
from captune.data.names.split_names import name_splits, parse_split
from captune.data.rows.captions import read_columns
from captune.data.rows.columns import (
    IMAGE_COLUMNS,
    find_captions,
    find_column,
    find_columns,
    read_split,
)
from captune.data.rows.foreign import flatten_chat, is_chat, iter_named, names_images
from captune.data.rows.gather import Row, gather_rows, is_number, read_name
from captune.data.rows.text import read_head, read_json, read_jsonl
from captune.errors import DataError
from captune.records import Split
from captune.storage import list_visible

_SUFFIXES = (".jsonl", ".ndjson", ".json")
_ANY = LoadOptions()


def find_jsonl(place: Path, options: LoadOptions = _ANY) -> str | None:
    """Return the names of the record files at `place`, or `None`."""
    files = _list_files(place, options)
    return ", ".join(path.name for path in files) if files else None


def read_records(place: Path, options: LoadOptions) -> LoadedData:
    """Read record files, whose names or folders may give the splits.

    Raises:
        DataError: The file is missing, a line is broken, or a line has no image or caption.
    """
    files = [place] if place.is_file() else _list_files(place, options)
    if not files and (options.image_column or options.caption_column):
        # The error then lists the keys of this file.
        files = [path for path in list_visible(place) if _is_json(path)]
    if not files:
        raise DataError(
            f"no .jsonl or .json file with an image and a caption per line in {place}",
            fix=CHECK_DATA,
        )
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    splits = name_splits(files, root=root, notes=notes)
    rows = (
        row
        for path, split in zip(files, splits, strict=True)
        for row in _iter_rows(path, root=root, split=split, options=options, notes=notes)
    )
    folders = (options.image_root,) if options.image_root else usual_folders(root)
    return gather_rows(rows, options, format="jsonl", root=root, folders=folders, notes=notes)


def _list_files(place: Path, options: LoadOptions) -> list[Path]:
    paths = [place] if place.is_file() else list_visible(place)
    files = [path for path in paths if _is_record_file(path, options)]
    if files or place.is_file():
        return files
    below = [path for path in paths if parse_split(path.name) and path.is_dir()]
    inside = (path for folder in below for path in list_visible(folder))
    return [path for path in inside if _is_record_file(path, options)]


def _is_record_file(path: Path, options: LoadOptions) -> bool:
    return _is_json(path) and _has_keys(path, options)


def _is_json(path: Path) -> bool:
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower() != ".json":
        return True
    # A list of objects, or one that names images; any other object is another format.
    head = read_head(path, size=4096)
    return head.lstrip().startswith("[") or _holds_lines(path) or names_images(head, path)


def _holds_lines(path: Path) -> bool:
    """Return whether a file has an object per line, as many `.json` files of the hub have."""
    first, _, rest = read_head(path).lstrip().partition("\n")
    try:
        return rest.lstrip().startswith("{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _has_keys(path: Path, options: LoadOptions) -> bool:
    try:
        _, first = next(_iter_objects(path, notes=[]))
    except (DataError, StopIteration):
        return False
    return _is_chat(first, options) or (
        find_column(list(first), options.image_column, usual=IMAGE_COLUMNS) is not None
        and find_captions(list(first), options.caption_column) != ()
    )


def _iter_objects(path: Path, *, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix.lower() != ".json" or _holds_lines(path):
        for number, line in read_jsonl(path, notes=notes):
            yield f"{path}, line {number}", line
        return
    values = read_json(path)
    if isinstance(values, dict):
        for record in iter_named(values):
            yield f"{path}, {record['image']!r}", record
        return
    if not isinstance(values, list):
        raise DataError(
            "not a list of records",
            where=str(path),
            fix='write a list of objects: [{"image": "a.jpg", "caption": "a dog"}, ...]',
        )
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(
                f"not an object: {reprlib.repr(value)}",
                where=f"{path}, record {number}",
                fix='write an object: {"image": "a.jpg", "caption": "a dog"}',
            )
        yield f"{path}, record {number}", value


def _iter_rows(
    path: Path, *, root: Path, split: Split | None, options: LoadOptions, notes: list[str]
) -> Iterator[Row]:
    folder, base = path.parent, options.image_root or root
    for where, record in _iter_objects(path, notes=notes):
        line, problem = flatten_chat(record) if _is_chat(record, options) else (record, "")
        image, captions = find_columns(list(line), options=options, where=where)
        name, source = _read_image(line[image], where=where)
        if source is None and isinstance(line.get("image_base64"), str):
            source = _read_base64(line["image_base64"], where=where)
            name = name or hashlib.blake2b(source, digest_size=8).hexdigest()
        yield Row(
            name=name_from_root(str(line.get("file_name") or name), folder, root=root, base=base),
            captions=read_columns(line, captions, where=where),
            image=source,
            image_id=read_name(line.get("image_id")),
            split=read_split(line) or split,
            group=read_name(line.get("group")) or None,
            columns=line,
            fault=("ambiguous", problem) if problem else None,
            where=where,
        )


def _is_chat(record: dict[str, Any], options: LoadOptions) -> bool:
    return not (options.image_column or options.caption_column) and is_chat(record)


def _read_image(value: object, *, where: str) -> tuple[str, bytes | None]:
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if value is None or is_number(value):
        # Without a name the row is listed, as in a table.
        return read_name(value), None
    if isinstance(value, str):
        kind, mark, encoded = value.partition(";base64,")
        if mark and kind.startswith("data:image/"):
            digest = hashlib.blake2b(encoded.encode(), digest_size=8)
            return digest.hexdigest(), _read_base64(encoded, where=where)
        return value, None
    if isinstance(value, dict):
        name, content = value.get("path"), value.get("bytes")
        if isinstance(content, str):
            return str(name or ""), _read_base64(content, where=where)
        if isinstance(name, str):
            return name, None
    raise DataError(
        f"an image must be a path, not {reprlib.repr(value)}",
        where=where,
        fix='write one path per image: {"image": "a.jpg", "caption": "a dog"}',
    )


def _read_base64(text: str, *, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            f"image_base64 is not base64: {error}",
            where=where,
            fix="encode the image's file with base64, without line breaks, or give its path as"
            " image",
        ) from error
