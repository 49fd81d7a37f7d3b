"""Rows of images and captions, merged into one record per image.

Every format ends here, so that all of them find files, keep the order, merge captions and report
skipped images in the same way.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from captune.caption_cells import is_unfinished
from captune.data.dataset import LoadedData, LoadOptions, SkippedImage
from captune.data.names.image_finder import ImageFinder, usual_folders
from captune.data.names.placing import OUTSIDE, Fault, Places, place_images
from captune.data.record_store import RecordStore, store_records
from captune.data.rows.captions import open_cell
from captune.data.rows.columns import find_extras
from captune.data.rows.filters import RowFilter
from captune.data.rows.gathered import GatheredImage, GatheredImages
from captune.data.rows.text import replace_half_letters
from captune.records import SPLITS, CaptionRecord, ImageSource, Split
from captune.suggest import format_count


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data set.

    Attributes:
        name: The image as the row names it; shown in reports and, without `image_id`, the id.
        captions: Captions of this row, perhaps not all of the image.
        image: The image itself, when the row gives it; `None`: it is found by name.
        keep: Stores the row's own image and returns where; called only for rows that pass the
            filters, so that skipped images use neither memory nor disk.
        image_id: The id in the data set; empty: none.
        split: The split in the data set.
        group: The group in the data set.
        columns: All columns of the row, for filters; empty where the format has none.
        fault: Why the image cannot be used, one word and details, where the reader knows; `None`:
            it is searched for.
        finder: Finds the image; `None`: it is searched for in the folders of the data set.
        where: File and line, for errors about the captions.
    """

    name: str
    captions: tuple[str, ...]
    image: ImageSource | None = None
    keep: Callable[[], ImageSource] | None = None
    image_id: str = ""
    split: Split | None = None
    group: str | None = None
    columns: Mapping[str, object] = field(default_factory=dict)
    fault: Fault | None = None
    finder: ImageFinder | None = None
    where: str = ""


@dataclass(slots=True)
class _Cells:
    """Unusual caption cells: how many, with how many captions, and the first."""

    number: int = 0
    num_captions: int = 0
    first: str = ""

    def add(self, cell: str, num_captions: int, *, where: str) -> None:
        """Count a cell."""
        self.first = self.first or f"{cell[:60]}{f'; {where}' if where else ''}"
        self.number += 1
        self.num_captions += num_captions


@dataclass(slots=True)
class _Merged:
    images: GatheredImages = field(default_factory=GatheredImages)
    columns: dict[str, dict[str, object]] = field(default_factory=dict)
    in_two_splits: dict[str, None] = field(default_factory=dict)
    reused_ids: dict[str, None] = field(default_factory=dict)
    unknown_splits: Counter[str] = field(default_factory=Counter)
    list_cells: _Cells = field(default_factory=_Cells)
    unfinished: _Cells = field(default_factory=_Cells)
    num_folded: int = 0
    dropped_columns: dict[str, None] = field(default_factory=dict)


def read_name(value: object) -> str:
    """Return an id or a group as text; empty for null, NaN and an empty text.

    7.0 is 7: tables turn whole numbers into floats when a value is missing.
    """
    if value is None or value != value:  # noqa: PLR0124
        return ""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return _as_name(str(whole).strip())


def is_number(value: object) -> bool:
    """Return whether a value is a number, which names a file without its ending: 139, 7.0."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def gather_rows(
    rows: Iterable[Row],
    options: LoadOptions,
    *,
    format: str,
    root: Path,
    folders: Sequence[Path] | None = None,
    notes: Sequence[str] = (),
) -> LoadedData:
    """Merge the rows of each image, find its file, and skip images without file or caption.

    Args:
        rows: Rows in the order of the data set.
        options: Filters and limit; rows are read only until the first image beyond the limit.
        format: Name of the format, for the result.
        root: Folder of the data set.
        folders: Folders searched for files; `None`: `root` and its usual image folders.
        notes: Notes that the result starts with.

    Returns:
        One record per image, in order of first appearance.

    Raises:
        DataError: A filter names a column that does not exist, or no image is left.
    """
    kept = RowFilter(options.filters)
    merged = _merge(map(_clean_name, rows), kept, options=options)
    names = (image.name for image in merged.images.values())
    filtered = kept.conclude(names, format=format, is_whole=options.limit is None)
    places = place_images(
        merged.images,
        ImageFinder(
            usual_folders(root) if folders is None else folders,
            bounds=options.list_bounds(root),
            allow_outside=options.allow_outside,
        ),
    )
    records, skipped, empty = _build_records(merged, places)
    return LoadedData(
        records=records,
        skipped=tuple(skipped),
        empty_captions=tuple(empty),
        in_two_splits=tuple(merged.in_two_splits),
        notes=(
            *notes,
            *filtered,
            *_note_captions(merged),
            *_note_names(merged),
            *places.notes,
            *note_missing(skipped, merged.images),
            *_note_similar(places.near_misses),
            *_note_outside(skipped),
        ),
        near_misses=places.near_misses,
        columns=merged.columns,
        format=format,
        root=root,
    )


def _build_records(
    merged: _Merged, places: Places
) -> tuple[RecordStore, list[SkippedImage], list[str]]:
    """Return the usable records, the skipped images, and the image of each empty caption."""
    skipped: list[SkippedImage] = []
    empty: list[str] = []

    def iter_usable() -> Iterator[CaptionRecord]:
        for place, (key, image) in enumerate(merged.images.items()):
            captions = tuple(text for text in image.captions if text)
            empty.extend([key] * (len(image.captions) - len(captions)))
            source = places.source(place)
            if source is None or not captions:
                reason, detail = places.faults.get(key, ("no_caption", ""))
                skipped.append(SkippedImage(key, image.name, reason, detail))
                continue
            yield CaptionRecord(
                image_id=key,
                image=source,
                captions=captions,
                split=min(image.splits, key=SPLITS.index, default=None),
                group=image.group,
                file_name=image.name,
            )

    return store_records(iter_usable()), skipped, empty


def note_missing(skipped: Sequence[SkippedImage], images: Sized) -> list[str]:
    """Return how many images are missing and where they were searched for, one note per place."""
    places = Counter(image.detail for image in skipped if image.reason == "missing")
    return [
        f"{number} of {format_count(len(images), 'image')} missing: {place}"
        for place, number in places.items()
        if place
    ]


def _note_similar(near_misses: Mapping[str, str]) -> list[str]:
    near = [f"{near} instead of {name}" for name, near in near_misses.items()]
    return [f"files similar to the missing ones exist: {', '.join(near)}"] if near else []


def _note_outside(skipped: Sequence[SkippedImage]) -> list[str]:
    outside = [image.file for image in skipped if image.reason == OUTSIDE]
    if not outside:
        return []
    return [
        f"{format_count(len(outside), 'image')} outside the data set's folder skipped (the first:"
        f" {outside[0]}): give their folder with data.image_root (--image-root), or allow any path"
        " with data.allow_outside: true (--allow-outside)"
    ]


def _merge(rows: Iterable[Row], kept: RowFilter, *, options: LoadOptions) -> _Merged:
    merged, limit = _Merged(), options.limit
    for row in rows:
        if not kept.keeps(row.name, row.columns, split=row.split):
            continue
        if row.keep is not None:
            row = replace(row, image=row.keep())  # noqa: PLW2901
        key = _choose_key(row, merged)
        if key not in merged.images:
            if limit is not None and len(merged.images) >= limit:
                # Captions of one image need not be adjacent in a table, but past the limit an
                # endless stream must end.
                break
            merged.images.add(key, GatheredImage(row.name, row.image, row.fault, row.finder))
        image = merged.images.change(key)
        image.captions += _read_texts(row, merged)
        image.group = image.group or row.group
        if options.keep_columns:
            _keep_columns(row, key, merged, options=options)
        named = row.columns.get("split")
        if row.split is None and isinstance(named, str) and named.strip():
            merged.unknown_splits[named.strip()] += 1
        if row.split is not None and row.split not in image.splits:
            image.splits.append(row.split)
            if len(image.splits) > 1:
                merged.in_two_splits[key] = None
    return merged


def _clean_name(row: Row) -> Row:
    name = _as_name(row.name)
    if not name and row.image is None and row.keep is None:
        # Named by its place: rows without a name are different images, and must be found.
        return replace(row, name=row.where, fault=row.fault or ("missing", "no image is named"))
    return row if name == row.name else replace(row, name=name)


def _keep_columns(row: Row, key: str, merged: _Merged, *, options: LoadOptions) -> None:
    extras, dropped = find_extras(row.columns, options=options)
    if extras:
        merged.columns[key] = {**extras, **merged.columns.get(key, {})}
    merged.dropped_columns.update(dict.fromkeys(dropped))


def _read_texts(row: Row, merged: _Merged) -> list[str]:
    """Return the captions of a row, one line each; cells that hold a list are split up."""
    captions: list[str] = []
    for cell in row.captions:
        texts = open_cell(cell, where=row.where, columns=row.columns)
        if texts is not None and any(texts):
            merged.list_cells.add(cell, len(texts), where=row.where)
        elif texts is None and is_unfinished(cell):
            merged.unfinished.add(cell, 1, where=row.where)
        for text in texts or (cell,):
            line = _clean_caption(text)
            merged.num_folded += line != text.strip() and _has_folds(text)
            captions.append(line)
    return captions


def _has_folds(text: str) -> bool:
    return " ".join(text.split()) != text.strip()


def _clean_caption(text: str) -> str:
    """Return one line of valid Unicode."""
    return replace_half_letters(" ".join(text.split()))


def _as_name(text: str) -> str:
    # Bytes of file names that are not UTF-8 stay: files and hashes hold them.
    return replace_half_letters(text, errors="surrogateescape")


def _choose_key(row: Row, merged: _Merged) -> str:
    """Return the row's id, or where another image has it, the id with the split, or the name.

    Ids that restart at 0 in each split are common; merging those images would give each the
    other's captions.
    """
    name = row.name
    if "//" in name or "/." in name or name.startswith(".") or name.endswith("/"):
        # Only for names that it may change: making a path takes longer than the rest of a row.
        name = str(PurePosixPath(name))
    if not row.image_id:
        return name
    in_split = [f"{row.split}/{row.image_id}"] if row.split else []
    last = f"{row.split or row.image_id}/{name}"
    # Where even the names are equal, a number distinguishes them.
    numbered = (f"{last}#{number}" for number in itertools.count(2))
    for key in itertools.chain((row.image_id, *in_split, name, last), numbered):
        image = merged.images.get(key)
        if image is None or (image.name, image.image) == (row.name, row.image):
            if key != row.image_id:
                merged.reused_ids[row.image_id] = None
            return key
    raise AssertionError("counting does not end")


def _note_captions(merged: _Merged) -> list[str]:
    notes = []
    if cells := merged.list_cells.number:
        notes.append(
            f"{format_count(cells, 'caption cell')} with a list written as text, read as a list:"
            f" {format_count(merged.list_cells.num_captions, 'caption')} (the first:"
            f" {merged.list_cells.first})"
        )
    if cells := merged.unfinished.number:
        notes.append(
            f"{format_count(cells, 'caption begins', plural='captions begin')} like a list or an"
            " object written as text, but cannot be read as one: used unchanged (the first:"
            f" {merged.unfinished.first})"
        )
    if merged.num_folded:
        notes.append(
            f"line breaks and runs of white space in {format_count(merged.num_folded, 'caption')}"
            " were replaced by"
            " single spaces"
        )
    return notes


def _note_names(merged: _Merged) -> list[str]:
    notes = []
    if merged.reused_ids:
        number, first = len(merged.reused_ids), next(iter(merged.reused_ids))
        notes.append(
            f"{format_count(number, 'id names', plural='ids name')} several images (the first:"
            f" {first}); all but one were renamed"
        )
    if merged.dropped_columns:
        notes.append(
            "columns with values that cannot be written as text skipped:"
            f" {', '.join(merged.dropped_columns)}"
        )
    if merged.unknown_splits:
        names = [f"{name!r} ({number})" for name, number in merged.unknown_splits.most_common(3)]
        notes.append(f"rows whose split is not train, val or test: {', '.join(names)}")
    return notes
