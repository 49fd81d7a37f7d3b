"""Write a data set in another format, with its images, so that other tools can read it.

Images are written first and caption files last: a folder with its caption file is complete.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from captune.data.dataset import SkippedImage
from captune.data.images import IMAGE_SUFFIXES, describe_source, read_pieces, read_source
from captune.data.write_packed import PACKED_WRITERS, Columns, write_cell
from captune.errors import DataError, ImageError, OutputError
from captune.records import SPLITS, CaptionRecord
from captune.storage import (
    MAX_NAME_BYTES,
    cannot_write,
    fold_name,
    portable_name,
    write_jsonl,
    write_text,
)

DatasetFormat = Literal["jsonl", "csv", "coco", "imagefolder", "sidecar", "webdataset", "parquet"]
ImageHandling = Literal["copy", "link", "keep"]

_NO_SPLIT = "data"
_CAPTION_FILES: dict[str, Callable[[str], str]] = {
    "imagefolder": lambda split: f"{split}/metadata.jsonl",
    "coco": lambda split: f"annotations/captions{'' if split == _NO_SPLIT else f'_{split}'}.json",
    "webdataset": lambda split: f"{split}-000000.tar",
    "parquet": lambda split: f"{split}-00000-of-00001.parquet",
    "jsonl": lambda split: f"{split}.jsonl",
    "csv": lambda split: f"{split}.csv",
    "sidecar": lambda split: f"{split}/captions",
}
_SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"GIF8", ".gif"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
)


@dataclass(frozen=True, slots=True)
class _Placed:
    """A record, its image (relative to the new folder, or absolute), and its other columns."""

    record: CaptionRecord
    name: str
    columns: Mapping[str, object]


_BySplit = dict[str, list[_Placed]]


def write_dataset(
    records: Sequence[CaptionRecord],
    folder: Path,
    *,
    format: DatasetFormat,
    images: ImageHandling = "copy",
    columns: Columns = MappingProxyType({}),
) -> list[SkippedImage]:
    """Write records and their images.

    `jsonl` and `csv`: one file per split (`train.jsonl`; `data.jsonl` without splits) and
    `images/`. `coco`: `annotations/captions_train.json` and `train/`, with a `group` per image
    where there are groups, which other readers of COCO ignore. `imagefolder`:
    `train/metadata.jsonl` beside the images, with a `text` per line, or a list `captions` where
    any image has several. `sidecar`: `train/a.jpg` with its captions in `train/a.jpg.txt`, and
    nothing else. `webdataset` and `parquet`: files that contain the images.

    Args:
        records: Records to write.
        folder: The new folder; created if missing.
        format: The format to write.
        images: `copy` them, hard-`link` them (copied where links are not possible), or `keep` them
            in place and write their absolute paths (`jsonl` and `csv` only).
        columns: Further columns of each image, by id; not written to `sidecar`.

    Returns:
        Images that could not be read, and are therefore not in the new data set.

    Raises:
        DataError: There is nothing to write, `keep` is used with a format that contains its
            images, or a name or caption cannot be written to `csv`.
        OutputError: The folder cannot be written, or has another data set's caption files.
    """
    _check_request(records, format=format, images=images)
    by_split: dict[str, list[CaptionRecord]] = {}
    for record in records:
        by_split.setdefault(record.split or _NO_SPLIT, []).append(record)
    _refuse_leftovers(folder, format=format, splits=tuple(by_split))
    if format not in PACKED_WRITERS:
        copied = (r for r in records if images != "keep" or not isinstance(r.image, Path))
        _refuse_long_names(copied, format=format)
    if format in PACKED_WRITERS:
        write = PACKED_WRITERS[format]
        return [
            image
            for split, chosen in by_split.items()
            for image in write(chosen, folder, split=split, columns=columns)
        ]
    placed: _BySplit = {split: [] for split in by_split}
    skipped: list[SkippedImage] = []
    taken: set[str] = set()
    for record in (record for chosen in by_split.values() for record in chosen):
        split = record.split or _NO_SPLIT
        inside = "images" if format in ("jsonl", "csv") else split
        try:
            name = _place_image(record, folder, inside=inside, images=images, taken=taken)
        except ImageError as error:
            name = record.file_name or describe_source(record.image)
            skipped.append(SkippedImage(record.image_id, name, error.what, error.where))
        else:
            placed[split].append(_Placed(record, name, columns.get(record.image_id, {})))
    _WRITERS[format](placed, folder)
    return skipped


def _check_request(
    records: Sequence[CaptionRecord], *, format: DatasetFormat, images: ImageHandling
) -> None:
    """Stop before anything is written that the format cannot hold."""
    if not records:
        raise DataError(
            "the data set is empty: it has no images to convert",
            fix="check data.filters (--filter) and --limit",
        )
    if images == "keep" and format not in ("jsonl", "csv"):
        raise DataError(
            f"{format} contains its images: --images keep is not supported",
            fix="use --images copy or --images link, or the format jsonl or csv",
        )
    if format == "csv":
        _refuse_for_csv(records, images=images)


def _refuse_leftovers(folder: Path, *, format: DatasetFormat, splits: Sequence[str]) -> None:
    """Refuse a folder with caption files that would be read with the new ones, or instead."""
    new = {_CAPTION_FILES[format](split) for split in splits}
    # In the order of detection: files of formats after the new one are not read.
    formats = list(_CAPTION_FILES)
    first = formats[: formats.index(format) + 1]
    names = (_CAPTION_FILES[name](split) for name in first for split in (*SPLITS, _NO_SPLIT))
    left = [name for name in names if name not in new and (folder / name).is_file()]
    if left:
        raise OutputError(
            f"{folder} has caption files that would be read with the new ones: {', '.join(left)}",
            fix="delete them, or choose another folder",
        )


def _refuse_for_csv(records: Sequence[CaptionRecord], *, images: ImageHandling) -> None:
    # With one invalid byte, readers take the whole file for Windows-1252; a bare carriage return
    # is a line end to most readers, even in quotes.
    for record in records:
        name = record.file_name
        if isinstance(record.image, Path):
            name = str(record.image.resolve()) if images == "keep" else name or record.image.name
        texts = (name, record.image_id, record.group or "", *record.captions)
        unfit = next((text for text in texts if "\r" in text or not _is_unicode(text)), None)
        if unfit is not None:
            raise DataError(
                f"a CSV cannot hold {unfit!r}: it is not UTF-8, or has a carriage return",
                where=f"image {record.image_id!r}",
                fix="use --to jsonl, which holds any name",
            )


def _refuse_long_names(records: Iterable[CaptionRecord], *, format: DatasetFormat) -> None:
    # Before anything is written: the copy would stop there each time.
    for record in records:
        name = _wanted_name(record)
        if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            name += ".jpg"
        length = len(os.fsencode(f"{name}.txt" if format == "sidecar" else name))
        if length > MAX_NAME_BYTES:
            raise DataError(
                f"the file name {name[:40]}...{Path(name).suffix} would have {length} bytes,"
                f" and file systems allow {MAX_NAME_BYTES}",
                where=f"image {record.image_id[:80]!r}",
                fix="use a shorter file name or image_id, or a format that packs its images:"
                " --to webdataset or --to parquet",
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _place_image(
    record: CaptionRecord, folder: Path, *, inside: str, images: ImageHandling, taken: set[str]
) -> str:
    if images == "keep" and isinstance(record.image, Path):
        return str(record.image.resolve())
    content = None if isinstance(record.image, Path) else read_source(record.image)
    name = _choose_name(record, content=content, inside=inside, taken=taken)
    target = folder / inside / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            # It may be a link of an earlier `--images link`, to a file of the user's.
            target.unlink(missing_ok=True)
            target.write_bytes(content)
        elif isinstance(record.image, Path):
            _place_file(record.image, target, is_link=images == "link")
    except OSError as error:
        raise cannot_write(target, error) from error
    return f"{inside}/{name}"


def _place_file(source: Path, target: Path, *, is_link: bool) -> None:
    # Opened for reading first: an unreadable image is skipped before anything is replaced.
    pieces = read_pieces(source)
    first = next(pieces, b"")
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    if is_link:
        try:
            os.link(source, target)
        except OSError:
            # Another file system, or one without links.
            pass
        else:
            return
    try:
        with target.open("wb") as file:
            file.writelines(chain((first,), pieces))
    except ImageError:
        target.unlink(missing_ok=True)
        raise


def _choose_name(
    record: CaptionRecord, *, content: bytes | None, inside: str, taken: set[str]
) -> str:
    wanted = _wanted_name(record)
    stem, suffix = Path(wanted).stem, Path(wanted).suffix
    if suffix.lower() not in IMAGE_SUFFIXES:
        stem, suffix = wanted, _suffix_of(record, content=content)
    name, number = stem + suffix, 1
    while fold_name(f"{inside}/{name}") in taken:
        number += 1
        name = f"{stem}-{number}{suffix}"
    taken.add(fold_name(f"{inside}/{name}"))
    return name


def _wanted_name(record: CaptionRecord) -> str:
    # The last part only: a name from untrusted data never leads out of the folder.
    own = record.image.name if isinstance(record.image, Path) else record.image_id
    wanted = Path((record.file_name or own).replace("\\", "/")).name or "image"
    return portable_name(wanted)


def _suffix_of(record: CaptionRecord, *, content: bytes | None) -> str:
    if content is None:
        return record.image.suffix if isinstance(record.image, Path) else ""
    return next((suffix for mark, suffix in _SIGNATURES if content.startswith(mark)), ".img")


def _write_jsonl(placed: _BySplit, folder: Path) -> None:
    for split, items in placed.items():
        write_jsonl(
            folder / _CAPTION_FILES["jsonl"](split),
            (
                {
                    **item.columns,
                    "image_id": item.record.image_id,
                    "image": item.name,
                    "captions": list(item.record.captions),
                    "split": item.record.split,
                    "group": item.record.group,
                }
                for item in items
            ),
        )


def _write_csv(placed: _BySplit, folder: Path) -> None:
    for split, items in placed.items():
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        names = list(dict.fromkeys(name for item in items for name in item.columns))
        writer.writerow(("image", "caption", "image_id", "split", "group", *names))
        for item in items:
            record = item.record
            for caption in record.captions:
                cells = (record.image_id, record.split or "", record.group or "")
                extra = (write_cell(item.columns.get(name)) or "" for name in names)
                writer.writerow((item.name, caption, *cells, *extra))
        write_text(folder / _CAPTION_FILES["csv"](split), buffer.getvalue())


def _write_coco(placed: _BySplit, folder: Path) -> None:
    ids = [item.record.image_id for items in placed.values() for item in items]
    # COCO ids are integers: the data set's own where they are distinct integers, else a count.
    is_numbered = all(
        image_id.isdecimal() and image_id.isascii() and len(image_id) < 19 for image_id in ids
    )
    is_numbered = is_numbered and len({int(image_id) for image_id in ids}) == len(ids)
    numbers = {image_id: number for number, image_id in enumerate(ids, start=1)}
    for split, items in placed.items():
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for item in items:
            given = item.record.image_id
            number = int(given) if is_numbered else numbers[given]
            group = item.record.group
            own = {} if group is None else {"group": group}
            name = Path(item.name).name
            images.append({**item.columns, "id": number, "file_name": name, **own})
            for caption in item.record.captions:
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": number, "caption": caption}
                )
        content = json.dumps({"images": images, "annotations": annotations})
        write_text(folder / _CAPTION_FILES["coco"](split), content + "\n")


def _write_imagefolder(placed: _BySplit, folder: Path) -> None:
    # The same type in all files: Arrow, and so Hugging Face, refuses texts mixed with lists.
    is_single = all(len(item.record.captions) == 1 for items in placed.values() for item in items)
    for split, items in placed.items():
        write_jsonl(
            folder / _CAPTION_FILES["imagefolder"](split),
            (
                {
                    **item.columns,
                    "file_name": Path(item.name).name,
                    "text" if is_single else "captions": (
                        item.record.captions[0] if is_single else list(item.record.captions)
                    ),
                    "image_id": item.record.image_id,
                    # An empty text, because a column of only nulls has no type in Arrow.
                    "group": item.record.group or "",
                }
                for item in items
            ),
        )


def _write_sidecars(placed: _BySplit, folder: Path) -> None:
    for items in placed.values():
        for item in items:
            # The full name, because a folder may have both a.jpg and a.png.
            write_text(folder / f"{item.name}.txt", "\n".join(item.record.captions) + "\n")


_WRITERS: dict[str, Callable[[_BySplit, Path], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "coco": _write_coco,
    "imagefolder": _write_imagefolder,
    "sidecar": _write_sidecars,
}
