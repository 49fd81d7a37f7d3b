"""Hugging Face's imagefolder: images beside a `metadata.jsonl` or `metadata.csv`.

`datasets` silently drops images without a line and keeps lines without a file; captune reports
both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions, SkippedImage
from captune.data.names.image_finder import is_file, name_from_root
from captune.data.names.split_names import parse_split
from captune.data.readers.csv_table import iter_table_rows
from captune.data.readers.sidecar import walk_images
from captune.data.rows.captions import read_columns
from captune.data.rows.columns import IMAGE_COLUMNS, find_captions, find_column, read_split
from captune.data.rows.gather import Row, gather_rows, read_name
from captune.data.rows.text import read_jsonl
from captune.errors import DataError
from captune.records import Split
from captune.storage import list_visible

_IMAGE_COLUMNS = ("file_name", "image_file_name", *IMAGE_COLUMNS)
_METADATA_NAMES = ("metadata.jsonl", "metadata.csv")


def find_imagefolder(place: Path) -> str | None:
    """Return the names of the metadata files that make `place` an imagefolder, or `None`."""
    found = _find_metadata(place)
    root = place if place.is_dir() else place.parent
    return ", ".join(str(path.relative_to(root)) for path in found) if found else None


def read_imagefolder(place: Path, options: LoadOptions) -> LoadedData:
    """Read an imagefolder; folders named train, val(idation) or test give the splits.

    Raises:
        DataError: There is no metadata file, or a line of it is broken.
    """
    metadata = _find_metadata(place)
    if not metadata:
        raise DataError(
            f"no metadata.jsonl or metadata.csv in {place} or its folders",
            fix=CHECK_DATA,
        )
    root = place if place.is_dir() else place.parent
    notes: list[str] = []
    listed: set[str] = set()
    rows = (
        row
        for path in metadata
        for row in _iter_rows(path, root=root, options=options, notes=notes)
    )
    data = gather_rows(
        _note_names(rows, listed),
        options,
        format="imagefolder",
        root=root,
        folders=(options.image_root or root,),
        notes=notes,
    )
    if options.limit:
        return data
    # A line may name an image by another path or letter case.
    listed |= {
        path.relative_to(root).as_posix()
        for path in (record.image for record in data.records)
        if isinstance(path, Path) and path.is_relative_to(root)
    }
    unread: list[str] = []
    unlisted = [
        SkippedImage(name, name, "no_caption", "no line in the metadata")
        for name in (path.relative_to(root).as_posix() for path in walk_images(root, notes=unread))
        if name not in listed
    ]
    return replace(data, skipped=(*data.skipped, *unlisted), notes=(*data.notes, *unread))


def _note_names(rows: Iterator[Row], names: set[str]) -> Iterator[Row]:
    for row in rows:
        names.add(PurePosixPath(row.name).as_posix())
        yield row


def _find_metadata(place: Path) -> list[Path]:
    if place.is_file():
        return [place] if place.name in _METADATA_NAMES else []
    found: list[Path] = []
    below = [*list_visible(place), *place.glob("data/*")]
    for folder in (place, *sorted(path for path in below if path.is_dir())):
        paths = (folder / name for name in _METADATA_NAMES)
        found += [path for path in paths if is_file(path)][:1]
    return found


def _iter_rows(path: Path, *, root: Path, options: LoadOptions, notes: list[str]) -> Iterator[Row]:
    base = options.image_root or root
    if path.suffix == ".csv":
        for row in iter_table_rows(path, options=options, notes=notes):
            name = name_from_root(row.name, path.parent, root=root, base=base)
            yield Row(
                name=name,
                captions=row.captions,
                image_id=row.image_id,
                split=row.split or _folder_split(name),
                group=row.group,
                columns=row.columns,
                where=row.where,
            )
        return
    for number, line in read_jsonl(path, notes=notes):
        where = f"{path}, line {number}"
        column = find_column(list(line), options.image_column, usual=_IMAGE_COLUMNS)
        value = line[column] if column else None
        if not isinstance(value, str) or not value:
            raise DataError(
                "a line has no file_name",
                where=where,
                fix='name the image as text: {"file_name": "a.jpg", "text": "a dog"}',
            )
        name = name_from_root(value, path.parent, root=root, base=base)
        yield Row(
            name=name,
            captions=_find_captions(line, options=options, where=where),
            image_id=read_name(line.get("image_id")),
            split=read_split(line) or _folder_split(name),
            group=read_name(line.get("group")) or None,
            columns=line,
            where=where,
        )


def _find_captions(line: dict[str, object], *, options: LoadOptions, where: str) -> tuple[str, ...]:
    columns = find_captions(list(line), options.caption_column)
    if not columns:
        raise DataError(
            f"a line has no caption; its keys are: {', '.join(line)}",
            where=where,
            fix="name the key: data.caption_column, or --caption-column",
        )
    return read_columns(line, columns, where=where)


def _folder_split(name: str) -> Split | None:
    return next((split for part in name.split("/")[:-1] if (split := parse_split(part))), None)
