"""`captune merge`: join the files that the shares of a run have written, each image once."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from captune.bulk.formats import open_collected
from captune.bulk.formats.row_file import RowFile
from captune.bulk.items import CaptionedItem, Item
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import encode_name
from captune.bulk.settings import follow_link, name_of_ending
from captune.bulk.state.part_makers import find_common_maker, record_maker
from captune.errors import OutputError
from captune.inference import to_prediction
from captune.net import is_object_url
from captune.storage import lock_file, refuse_existing, refuse_irregular

_NAME_FILES = "name files that captune caption has written"
# Rows joined at a time.
_CHUNK = 1000
_SHARE = re.compile(
    r"(?P<name>.*)-(?P<index>\d{5,})-of-(?P<count>\d{5,})(?P<suffix>\.\w+)", re.DOTALL
)


@dataclass(slots=True)
class MergeResult:
    """How many rows were joined.

    Attributes:
        num_rows: Rows in the joined file.
        num_duplicates: Rows that were skipped, because their image had an earlier row.
    """

    num_rows: int = 0
    num_duplicates: int = 0


def merge_shares(
    out: Path, parts: Sequence[Path], *, force: bool = False, allow_missing: bool = False
) -> MergeResult:
    """Join finished caption files, in the order given.

    Args:
        out: The file to write atomically; its ending names the format.
        parts: The files, `.jsonl`, `.csv` or `.parquet`; the first row of an image counts.
        force: Overwrite `out`, and join captions of different models or decoding.
        allow_missing: Join the parts even if their names show that some are missing.

    Raises:
        OutputError: A part is missing, unfinished, or holds something other than captions; two
            hold those of different models or decoding; `out` exists; or it cannot be written.
    """
    for path in (out, *parts):
        if is_object_url(path.as_posix()):
            raise OutputError(
                "files in object storage cannot be joined",
                where=str(path),
                fix="copy them to this machine first: aws s3 cp",
            )
    form = _row_file(out)
    _refuse_unfinished(form)
    # No other command writes to this name, so whatever is there was left by a merge.
    form.part_path = form.path.with_name(f".{form.path.name}.merge.part")
    for part in parts:
        _check_part(part, out)
    sources = [_row_file(part) for part in parts]
    if not allow_missing:
        _refuse_missing(parts)
    refuse_existing(out, force=force)
    maker = find_common_maker(parts, force=force)
    result = MergeResult()
    with lock_file(form.path), tempfile.TemporaryDirectory(prefix="captune-merge-") as scratch:
        # An empty state discards what a killed merge left.
        form.resume(b"", keep_earlier=False)
        seen = Database(Path(scratch) / "names.sqlite")
        try:
            seen.write("CREATE TEMP TABLE seen(name BLOB PRIMARY KEY) WITHOUT ROWID")
            rows = chain.from_iterable(map(_rows_of, sources))
            while chunk := list(islice(rows, _CHUNK)):
                fresh = list(_fresh(seen, chunk))
                result.num_rows += len(fresh)
                result.num_duplicates += len(chunk) - len(fresh)
                form.add([_to_item(row) for row in fresh])
            form.finish()
            record_maker(form.path, maker)
        finally:
            form.close()
            seen.close()
    return result


def _row_file(path: Path) -> RowFile:
    place = follow_link(path)
    try:
        form = open_collected(name_of_ending(path), place)
    except OutputError as error:
        raise OutputError(
            f"the ending of {path} names no format", fix="use .jsonl, .csv or .parquet"
        ) from error
    if not isinstance(form, RowFile):
        raise OutputError(
            f"{path} is not one file of captions", fix="merge .jsonl, .csv or .parquet files"
        )
    return form


def _refuse_unfinished(out: RowFile) -> None:
    if out.part_path.exists():
        raise OutputError(
            f"{out.part_path} may hold captions of a run that is not finished",
            fix=f"finish that run with its command, delete {out.part_path}, or choose another OUT",
        )


def _check_part(part: Path, out: Path) -> None:
    is_there = part.exists()
    if is_there:
        refuse_irregular(part, OutputError, fix=_NAME_FILES)
    try:
        unfinished = Path(f"{follow_link(part)}.part")
    except OutputError as error:
        # It speaks of an output.
        raise OutputError(error.what, where="PART", fix=_NAME_FILES) from error
    if unfinished.exists():
        raise OutputError(
            f"{part} is not finished: {unfinished} holds more captions",
            fix="run the command of that share again; it resumes where it stopped",
        )
    if not is_there:
        raise OutputError(f"there is no {part}", fix="check the path")
    if part.resolve() == out.resolve():
        raise OutputError(f"{out} is one of its own parts", fix="choose another OUT")


def _refuse_missing(parts: Sequence[Path]) -> None:
    """Refuse an incomplete set of files of `--shard i/n`, whose names hold i and n.

    Raises:
        OutputError: Files are missing; the first one is named.
    """
    given: dict[tuple[Path, str, int, str], set[int]] = {}
    for part in parts:
        share = _SHARE.fullmatch(part.name)
        if share is not None:
            key = (part.parent, share["name"], int(share["count"]), share["suffix"])
            given.setdefault(key, set()).add(int(share["index"]))
    for (folder, name, count, suffix), indices in given.items():
        missing = next((index for index in range(1, count + 1) if index not in indices), None)
        if missing is not None:
            path = folder / f"{name}-{missing:05}-of-{count:05}{suffix}"
            more = count - len(indices) - 1
            raise OutputError(
                f"the file of share {missing}/{count} is not given: {path}"
                + (f" (and {more} more)" if more else ""),
                where="PART",
                fix="name the files of all shares, or join these alone with --allow-missing",
            )


def _rows_of(source: RowFile) -> Iterator[Mapping[str, Any]]:
    try:
        yield from source.finished_rows()
    except OutputError as error:
        raise OutputError(error.what, where="PART", fix=_NAME_FILES) from error


def _fresh(seen: Database, rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of images that have not been seen."""
    with seen.transaction():
        for row in rows:
            name = encode_name(str(row["image_id"]))
            if not seen.rows("SELECT 1 FROM temp.seen WHERE name = ?", (name,)):
                seen.write("INSERT INTO temp.seen VALUES (?)", (name,))
                yield row


def _to_item(row: Mapping[str, Any]) -> CaptionedItem:
    prediction = to_prediction(row)
    name = prediction.image_id
    return CaptionedItem(Item(name, Path(name)), prediction)
