"""Splits on disk: a readable `splits.json`, and `splits/{train,val,test}.jsonl` with the records.

Loaded records equal the saved ones. Paths are relative to the data set, so that a run's folder
still works after it and the data set have been moved together.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from captune.data.record_store import (
    FileRows,
    PlainRecord,
    PlainSource,
    RecordStore,
    code_of,
    iter_plain,
    pick_records,
    read_split_codes,
    store_records,
)
from captune.errors import DataError
from captune.records import SPLITS, CaptionRecord, ImageSource, Split, TarMember, ZipMember
from captune.storage import (
    iter_json_lines,
    open_atomic,
    read_json_object,
    write_json,
    write_jsonl,
)
from captune.suggest import format_count

_IMAGES_NAME = "images.zip"
_VERSION = 1
# Without `--only`, the stages after it would run again too, the training among them.
_DRAW_AGAIN = (
    "draw the splits again: captune run RECIPE --from prepare --only prepare, or captune data split"
)
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
    codes = read_split_codes(records)
    unsplit = np.flatnonzero(codes == code_of(None))
    if len(unsplit):
        raise DataError(
            f"{format_count(len(unsplit), 'record has', plural='records have')} no split, such as"
            f" {records[unsplit[0]].image_id}",
            fix="call assign_splits first",
        )
    root = _common_root(records)
    _store_bytes(records, folder / "splits" / _IMAGES_NAME)
    counts = {}
    for split in SPLITS:
        chosen = pick_records(records, np.flatnonzero(codes == code_of(split)))
        num_captions = 0

        def iter_lines(
            chosen: Sequence[CaptionRecord] = chosen, split: Split = split
        ) -> Iterator[dict[str, object]]:
            nonlocal num_captions
            for record in iter_plain(chosen):
                num_captions += len(record.captions)
                yield _to_line(record, split=split, root=root)

        write_jsonl(folder / "splits" / f"{split}.jsonl", iter_lines())
        counts[split] = {"rows": num_captions, "unique_images": len(chosen)}
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


def load_splits(folder: Path) -> Sequence[CaptionRecord]:
    """Return the records saved by `save_splits`: train, val, test, each in its saved order.

    They are made on access from lines of the saved files, which are mapped into memory; records
    whose images are in `splits/images.zip` are all in memory.

    Raises:
        DataError: The folder has no saved splits, or they are broken.
    """
    summary = _read_summary(folder)
    archive = folder / "splits" / _IMAGES_NAME
    lines = _SavedLines(folder, summary, _open_bytes(archive))
    if archive.is_file():
        return store_records(record for _, record in lines)
    edges = array("q")
    codes = bytearray()
    for (start, end), record in lines:
        edges.extend((start, end))
        codes.append(code_of(record.split))
    files = np.frombuffer(codes, np.uint8)
    paths = [folder / "splits" / f"{split}.jsonl" for split in SPLITS]
    rows = FileRows(paths, files, np.array(edges, np.int64).reshape(-1, 2))
    return RecordStore(rows, _LineCoder(lines.root), splits=files)


@dataclass(slots=True)
class _SavedLines:
    """The saved records, each with first byte and end of its line in the file of its split.

    Attributes:
        folder: The run's folder.
        summary: Content of `splits.json`.
        read_bytes: Returns an image of `splits/images.zip`.
        root: Folder that paths start from; known from the first one on.
    """

    folder: Path
    summary: dict[str, Any]
    read_bytes: Callable[[str], bytes]
    root: Path | None = None

    def __iter__(self) -> Iterator[tuple[tuple[int, int], CaptionRecord]]:
        is_known = False
        for split in SPLITS:
            path = self.folder / "splits" / f"{split}.jsonl"
            found = iter_json_lines(path, fix=_DRAW_AGAIN)
            for number, (edges, line) in enumerate(found, start=1):
                if not is_known and (name := _path_in(line.get("image"))) is not None:
                    self.root = _find_root(self.summary, folder=self.folder, name=name)
                    is_known = True
                try:
                    record = _from_line(
                        line, split=split, root=self.root, read_bytes=self.read_bytes
                    )
                except (*_BROKEN_ZIP, KeyError, TypeError, ValueError, OverflowError) as error:
                    raise DataError(
                        f"not a saved record: {error!r}",
                        where=f"{path}, line {number}",
                        fix=_DRAW_AGAIN,
                    ) from error
                yield edges, record


@dataclass(frozen=True, slots=True)
class _LineCoder:
    """Makes records from lines of `splits/*.jsonl`.

    Attributes:
        root: Folder that paths start from.
    """

    root: Path | None

    def decode(self, row: bytearray | bytes, split: Split | None) -> CaptionRecord:
        """Return the record of a line that was valid when it was saved."""
        return _from_line(json.loads(row), split=split, root=self.root, read_bytes=_no_bytes)

    def decode_plain(self, row: bytearray | bytes) -> PlainRecord:
        """Return the record of a line, without its split, as plain values."""
        return next(iter_plain([self.decode(row, None)]))

    def decode_captions(self, row: bytearray | bytes) -> Sequence[str]:
        """Return the captions of a line."""
        captions: list[str] = json.loads(row)["captions"]
        return captions


def _path_in(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("archive")
    return value if isinstance(value, str) else None


def _common_root(records: Sequence[CaptionRecord]) -> Path | None:
    parents: set[str] = set()
    for record in iter_plain(records):
        if not isinstance(record.source, bytes):
            file = record.source if isinstance(record.source, str) else record.source.archive
            # Text: a million images are in a few folders, and making paths of them takes seconds.
            parents.add(os.path.dirname(file) or os.curdir)  # noqa: PTH120
    if not parents:
        return None
    try:
        return Path(os.path.commonpath(parents))
    except ValueError:
        # Mixed relative and absolute paths, or two drives.
        return None


def _store_bytes(records: Sequence[CaptionRecord], path: Path) -> None:
    sources = (record.source for record in iter_plain(records))
    contents = (source for source in sources if isinstance(source, bytes))
    first = next(contents, None)
    if first is None:
        path.unlink(missing_ok=True)
        return
    written: set[str] = set()
    with open_atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for content in chain([first], contents):
            name = hashlib.sha256(content).hexdigest()
            if name not in written:
                written.add(name)
                # A fixed date, so that equal splits give equal files.
                archive.writestr(zipfile.ZipInfo(name), content)


def _to_line(record: PlainRecord, *, split: Split, root: Path | None) -> dict[str, object]:
    return {
        "image_id": record.image_id,
        "image": _write_source(record.source, root=root),
        "captions": record.captions,
        "split": split,
        "group": record.group,
        "file_name": record.image_id if record.file_name is None else record.file_name,
    }


def _write_source(source: PlainSource, *, root: Path | None) -> object:
    if isinstance(source, bytes):
        return {"sha256": hashlib.sha256(source).hexdigest()}
    if isinstance(source, str):
        return _write_path(source, root=root)
    value: dict[str, object] = {
        "archive": _write_path(os.fspath(source.archive), root=root),
        "member": source.member,
    }
    if isinstance(source, TarMember):
        value |= {"offset": source.offset, "size": source.size}
    return value


def _write_path(path: str, *, root: Path | None) -> str:
    if root is None:
        return path
    start = os.path.join(root, "")  # noqa: PTH118
    if os.sep == "/" and path.startswith(start):
        # The same text, in a fifth of the time.
        return path[len(start) :]
    return Path(path).relative_to(root).as_posix()


def _from_line(
    line: dict[str, Any],
    *,
    split: Split | None,
    root: Path | None,
    read_bytes: Callable[[str], bytes],
) -> CaptionRecord:
    texts = (line["image_id"], line.get("file_name", ""), line.get("group") or "")
    captions = line["captions"]
    if not isinstance(captions, list) or not all(
        isinstance(text, str) for text in (*texts, *captions)
    ):
        raise TypeError("image_id, file_name, group and captions must be text")
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
    # What is there but not a file, such as a folder, is named as that.
    if not path.exists():
        raise DataError(f"no splits.json in {folder}", fix=f"{_DRAW_AGAIN} DATA --out FOLDER")
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
