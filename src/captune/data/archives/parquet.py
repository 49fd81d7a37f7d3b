"""Parquet files, read row by row within limits of memory.

Parquet compresses equal values to almost nothing: 50 kB can unpack to 40 GB. The unpacked size is
checked before a file is read, and rows are read in batches that fit into memory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.data.rows.text import open_regular
from captune.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_MAX_RATIO = 1000
"""Maximum unpacked bytes per byte of a file; photographs hardly compress, captions tenfold."""

_ALWAYS_ALLOWED = 2**30
_MAX_CHUNK = 2**31
"""Maximum bytes of one column in one row group: parts of it are held in memory at once."""

_MAX_ROWS_PER_BYTE = 100
_MAX_BATCH_BYTES = 2**28
_MAX_BATCH_ROWS = 1000


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Rows of some Parquet files, with the interface of a data set of `datasets`.

    Attributes:
        files: The files, in order.
        features: The columns and their types, as `datasets` describes them.
        columns: The columns to read; `None`: all.
    """

    files: Sequence[Path]
    features: Mapping[str, Any]
    columns: Sequence[str] | None = None

    def select_columns(self, names: Sequence[str]) -> ParquetPart:
        """Return the same rows with these columns only."""
        return replace(self, columns=names)

    def cast_column(self, _name: str, _feature: Any) -> ParquetPart:
        """Return the rows as they are: images are never decoded here."""
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self.files:
            yield from _iter_rows(path, self.columns)


def open_parquet(files: Sequence[Path]) -> ParquetPart:
    """Open Parquet files whose columns are those of the first.

    Raises:
        DataError: A file is not a regular file, or unpacks to more than is allowed.
        OSError: A file cannot be read; pyarrow raises this or `ValueError`.
    """
    import datasets
    import pyarrow.parquet as pq

    for path in files:
        open_regular(path).close()
    _refuse_fatal(files)
    for path in files:
        with pq.ParquetFile(path) as file:
            _refuse_bomb(file.metadata, path)
    features = datasets.Features.from_arrow_schema(pq.read_schema(files[0]))
    return ParquetPart(files, features)


def _refuse_fatal(files: Sequence[Path]) -> None:
    """Refuse a file so damaged that reading its metadata ends the process.

    pyarrow 26 aborts on some damaged metadata, and an abort cannot be caught, so a child process
    reads the metadata first. Remove this once pyarrow raises an exception instead.
    """
    names = "\0".join(str(path.absolute()) for path in files)
    command = [sys.executable, "-I", "-c", _LOOK]
    looked = subprocess.run(
        command, input=os.fsencode(names), capture_output=True, timeout=600, check=False
    )
    if looked.returncode < 0 or looked.returncode == 134:
        last = os.fsdecode(looked.stdout).rstrip("\0").rpartition("\0")[2]
        raise DataError(
            f"{last or files[0]} is damaged so that reading it ends the process",
            fix="fetch it again",
        )


_LOOK = """
import os, sys
import pyarrow.parquet as pq
for name in os.fsdecode(sys.stdin.buffer.read()).split("\\0"):
    sys.stdout.buffer.write(os.fsencode(name) + b"\\0")
    sys.stdout.flush()
    try:
        with pq.ParquetFile(name) as file:
            metadata = file.metadata
            for group in range(metadata.num_row_groups):
                for column in range(metadata.num_columns):
                    metadata.row_group(group).column(column).total_uncompressed_size
            file.schema_arrow
    except Exception:
        pass
"""
"""Read the metadata of each file named on stdin; the last name printed is the file at fault."""


def is_whole(path: Path) -> bool:
    """Return whether a file begins and ends with Parquet's mark."""
    with path.open("rb") as file:
        begin = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4))
        return begin == file.read() == b"PAR1"


def _refuse_bomb(metadata: pq.FileMetaData, path: Path) -> None:
    size = path.stat().st_size
    chunks = [
        metadata.row_group(group).column(column).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    unpacked = sum(chunks)
    fix = "do not trust this file; write it again, with row groups of at most 1,000 images"
    if unpacked > max(_ALWAYS_ALLOWED, _MAX_RATIO * size):
        raise DataError(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,}: more than {_MAX_RATIO} times"
            " its size",
            fix=fix,
        )
    if max(chunks, default=0) > _MAX_CHUNK:
        raise DataError(
            f"{path} has a column of {max(chunks):,} bytes in one row group; at most"
            f" {_MAX_CHUNK:,} are read",
            fix=fix,
        )
    if metadata.num_rows > max(1_000_000, _MAX_ROWS_PER_BYTE * size):
        raise DataError(f"{path} has {size:,} bytes and claims {metadata.num_rows:,} rows", fix=fix)


def _iter_rows(path: Path, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    # pre_buffer would hold whole row groups in memory.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        for group in range(file.metadata.num_row_groups):
            batches = file.iter_batches(
                batch_size=_choose_rows(file.metadata.row_group(group), columns),
                row_groups=[group],
                columns=list(columns) if columns is not None else None,
            )
            for batch in batches:
                yield from batch.to_pylist()


def _choose_rows(group: pq.RowGroupMetaData, columns: Sequence[str] | None) -> int:
    """Return how many rows fit into memory even if each holds the largest possible value."""
    largest: int = sum(
        chunk.total_uncompressed_size
        for chunk in (group.column(number) for number in range(group.num_columns))
        if columns is None or chunk.path_in_schema.partition(".")[0] in columns
    )
    return max(1, min(_MAX_BATCH_ROWS, _MAX_BATCH_BYTES // max(1, largest)))
