"""Splits on disk: a readable `splits.json`, and `splits/{train,val,test}.jsonl` with the records.

Loaded records equal the saved ones. Paths are relative to the data set, so that a run's folder
still works after it and the data set have been moved together.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, ImageSource, Split, TarMember, ZipMember
from captune.storage import (
    open_atomic,
    read_json_object,
    read_json_objects,
    write_json,
    write_jsonl,
)

_IMAGES_NAME = "images.zip"
_VERSION = 1
_DRAW_AGAIN = "draw the splits again: captune run RECIPE --from prepare, or captune data split"
_BROKEN_ZIP = (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def save_splits(
    records: Sequence[CaptionRecord],
    folder: Path,
    *,
    seed: int | None = None,
    by: Literal["image", "group"] = "image",
) -> None:
    """Write `splits.json` and `splits/{train,val,test}.jsonl` into a folder.

    `splits.json` counts rows (captions) and unique images per split. It is written last, so a
    folder that has it is complete. Images that exist only as bytes go to `splits/images.zip`.

    Args:
        records: Records that all have a split.
        folder: A run's folder; created if missing.
        seed: Random seed of the draw; `None`: the data set gave the splits.
        by: The unit that the splits keep together.

    Raises:
        DataError: A record has no split.
        OutputError: The folder cannot be written.
    """
    unsplit = [record.image_id for record in records if record.split is None]
    if unsplit:
        raise DataError(
            f"{len(unsplit)} records have no split, such as {unsplit[0]}",
            fix="call assign_splits first",
        )
    root = _common_root(records)
    _store_bytes(records, folder / "splits" / _IMAGES_NAME)
    counts = {}
    for split in SPLITS:
        chosen = [record for record in records if record.split == split]
        write_jsonl(
            folder / "splits" / f"{split}.jsonl",
            (_to_line(record, root=root) for record in chosen),
        )
        counts[split] = {
            "rows": sum(len(record.captions) for record in chosen),
            "unique_images": len(chosen),
        }
    summary = {
        "version": _VERSION,
        "seed": seed,
        "by": by,
        "splits": counts,
        "image_root": os.fspath(root) if root else None,
        "image_root_absolute": os.path.abspath(root) if root else None,  # noqa: PTH100
        "image_root_from_here": _relative(root, start=folder) if root else None,
    }
    write_json(folder / "splits.json", summary)


def load_splits(folder: Path) -> list[CaptionRecord]:
    """Return the records saved by `save_splits`: train, val, test, each in its saved order.

    Raises:
        DataError: The folder has no saved splits, or they are broken.
    """
    summary = _read_summary(folder)
    read_bytes = _open_bytes(folder / "splits" / _IMAGES_NAME)
    records: list[CaptionRecord] = []
    root = None
    for split in SPLITS:
        path = folder / "splits" / f"{split}.jsonl"
        for number, line in enumerate(read_json_objects(path, fix=_DRAW_AGAIN), start=1):
            if root is None and (name := _path_in(line.get("image"))) is not None:
                root = _find_root(summary, folder=folder, name=name)
            try:
                records.append(_from_line(line, split=split, root=root, read_bytes=read_bytes))
            except (*_BROKEN_ZIP, KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"not a saved record: {error!r}",
                    where=f"{path}, line {number}",
                    fix=_DRAW_AGAIN,
                ) from error
    return records


def _path_in(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("archive")
    return value if isinstance(value, str) else None


def _common_root(records: Sequence[CaptionRecord]) -> Path | None:
    files = {
        record.image if isinstance(record.image, Path) else record.image.archive
        for record in records
        if not isinstance(record.image, bytes)
    }
    parents = {os.fspath(path.parent) for path in files}
    if not parents:
        return None
    try:
        return Path(os.path.commonpath(parents))
    except ValueError:
        # Mixed relative and absolute paths, or two drives.
        return None


def _store_bytes(records: Sequence[CaptionRecord], path: Path) -> None:
    contents = [record.image for record in records if isinstance(record.image, bytes)]
    if not contents:
        path.unlink(missing_ok=True)
        return
    written: set[str] = set()
    with open_atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for content in contents:
            name = hashlib.sha256(content).hexdigest()
            if name not in written:
                written.add(name)
                # A fixed date, so that equal splits give equal files.
                archive.writestr(zipfile.ZipInfo(name), content)


def _to_line(record: CaptionRecord, *, root: Path | None) -> dict[str, object]:
    return {
        "image_id": record.image_id,
        "image": _write_source(record.image, root=root),
        "captions": list(record.captions),
        "split": record.split,
        "group": record.group,
        "file_name": record.file_name,
    }


def _write_source(source: ImageSource, *, root: Path | None) -> object:
    if isinstance(source, bytes):
        return {"sha256": hashlib.sha256(source).hexdigest()}
    if isinstance(source, Path):
        return _write_path(source, root=root)
    value: dict[str, object] = {
        "archive": _write_path(source.archive, root=root),
        "member": source.member,
    }
    if isinstance(source, TarMember):
        value |= {"offset": source.offset, "size": source.size}
    return value


def _write_path(path: Path, *, root: Path | None) -> str:
    return path.relative_to(root).as_posix() if root else os.fspath(path)


def _from_line(
    line: dict[str, Any],
    *,
    split: Split,
    root: Path | None,
    read_bytes: Callable[[str], bytes],
) -> CaptionRecord:
    texts = (line["image_id"], line.get("file_name", ""), line.get("group") or "")
    captions = line["captions"]
    if not isinstance(captions, list) or not all(
        isinstance(text, str) for text in (*texts, *captions)
    ):
        raise TypeError("image_id, file_name, group and captions must be texts")
    return CaptionRecord(
        image_id=line["image_id"],
        image=_read_source(line["image"], root=root, read_bytes=read_bytes),
        captions=tuple(captions),
        split=split,
        group=line.get("group"),
        file_name=line.get("file_name", ""),
    )


def _read_source(
    value: Any, *, root: Path | None, read_bytes: Callable[[str], bytes]
) -> ImageSource:
    if isinstance(value, str):
        return root / value if root else Path(value)
    if "sha256" in value:
        return read_bytes(value["sha256"])
    archive = root / value["archive"] if root else Path(value["archive"])
    if "offset" in value:
        return TarMember(archive, value["member"], int(value["offset"]), int(value["size"]))
    return ZipMember(archive, value["member"])


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "splits.json"
    if not path.is_file():
        raise DataError(
            f"no splits.json in {folder}", fix="write it: `captune data split DATA --out FOLDER`"
        )
    summary = read_json_object(path, fix=_DRAW_AGAIN)
    names = ("image_root", "image_root_absolute", "image_root_from_here")
    if summary.get("version") != _VERSION or not all(
        isinstance(summary.get(name), str | None) for name in names
    ):
        raise DataError(
            f"not a splits.json of version {_VERSION}", where=str(path), fix=_DRAW_AGAIN
        )
    return summary


def _find_root(summary: dict[str, Any], *, folder: Path, name: str) -> Path | None:
    if summary.get("image_root") is None:
        return None
    given = Path(summary["image_root"])
    moved = [Path(summary.get("image_root_absolute") or given)]
    if summary.get("image_root_from_here"):
        moved.append(folder / summary["image_root_from_here"])
    return next((root for root in (given, *moved) if (root / name).exists()), given)


def _open_bytes(path: Path) -> Callable[[str], bytes]:
    if not path.is_file():
        return _no_bytes
    try:
        archive = zipfile.ZipFile(path)
    except _BROKEN_ZIP as error:
        raise DataError(
            f"{path} is damaged: {error}",
            fix=f"copy it from where the run was made, or {_DRAW_AGAIN}",
        ) from error
    return archive.read


def _no_bytes(name: str) -> bytes:
    raise KeyError(f"{name}: {_IMAGES_NAME} is missing")


def _relative(root: Path, *, start: Path) -> str | None:
    try:
        return os.path.relpath(root, start)
    except ValueError:
        return None
