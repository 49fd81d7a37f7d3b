"""Parquet files, read batch by batch within limits of memory.

Parquet compresses equal values to almost nothing: 50 kB can unpack to 40 GB. The unpacked size is
checked before a file is read, and rows are read in batches that fit into memory. All of this runs
in a child process (`arrow_process.py`), because pyarrow 26 aborts on some damaged files, and an
abort cannot be caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captune.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_MAX_BATCH_BYTES = 2**28
_MAX_BATCH_ROWS = 1000
_FIX = "do not trust this file; write it again, with row groups of at most 1,000 images"


@dataclass(frozen=True, slots=True)
class ParquetLimits:
    """What a Parquet file may unpack to.

    Attributes:
        max_ratio: Maximum unpacked bytes per byte of a file; photographs hardly compress,
            captions tenfold.
        always_allowed: Unpacked bytes that are allowed whatever the ratio.
        max_chunk: Maximum bytes of one column in one row group: parts of it are held in memory
            at once.
        max_rows_per_byte: Maximum rows per byte of a file of more than a million rows.
    """

    max_ratio: int = 1000
    always_allowed: int = 2**30
    max_chunk: int = 2**31
    max_rows_per_byte: int = 100

    def max_unpacked(self, size: int) -> int:
        """Return how many bytes a file of this size may unpack to."""
        return max(self.always_allowed, self.max_ratio * size)


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """Rows of some Parquet files.

    Attributes:
        files: The files, in order.
        schema: Columns and types of the first file, which all have.
        limits: What a file may unpack to.
        announce: Called with each file before it is read.
    """

    files: Sequence[Path]
    schema: pa.Schema
    limits: ParquetLimits
    announce: Callable[[str], None]

    @property
    def is_stream(self) -> bool:
        """Whether rows are downloaded while they are read: never."""
        return False

    def iter_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows in small batches.

        Raises:
            DataError: The values of a file take more bytes than is allowed.
        """
        for path in self.files:
            self.announce(str(path))
            allowed = self.limits.max_unpacked(path.stat().st_size)
            num_bytes = 0
            for batch in _iter_batches(path, columns):
                num_bytes += batch.nbytes
                if num_bytes > allowed:
                    raise DataError(
                        f"the values of {path} take more than {allowed:,} bytes", fix=_FIX
                    )
                yield batch


def open_parquet(
    files: Sequence[Path], limits: ParquetLimits, *, announce: Callable[[str], None]
) -> ParquetPart:
    """Open Parquet files whose columns are those of the first.

    Args:
        files: Regular files.
        limits: What a file may unpack to.
        announce: Called with each file before it is read.

    Raises:
        DataError: A file unpacks to more than is allowed.
        OSError: A file cannot be read; pyarrow raises this or `ValueError`.
    """
    import pyarrow.parquet as pq

    schema = None
    for path in files:
        announce(str(path))
        with pq.ParquetFile(path) as file:
            _refuse_bomb(file.metadata, path, limits=limits)
            schema = file.schema_arrow if schema is None else schema
    assert schema is not None
    return ParquetPart(files, schema, limits, announce)


def _refuse_bomb(metadata: pq.FileMetaData, path: Path, *, limits: ParquetLimits) -> None:
    size = path.stat().st_size
    chunks = [
        metadata.row_group(group).column(column).total_uncompressed_size
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    unpacked = sum(chunks)
    if unpacked > limits.max_unpacked(size):
        raise DataError(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,}: more than"
            f" {limits.max_ratio} times its size",
            fix=_FIX,
        )
    if max(chunks, default=0) > limits.max_chunk:
        raise DataError(
            f"{path} has a column of {max(chunks):,} bytes in one row group; at most"
            f" {limits.max_chunk:,} are read",
            fix=_FIX,
        )
    if metadata.num_rows > max(1_000_000, limits.max_rows_per_byte * size):
        raise DataError(
            f"{path} has {size:,} bytes and claims {metadata.num_rows:,} rows", fix=_FIX
        )


def _iter_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    # pre_buffer would hold whole row groups in memory.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
        for group in range(file.metadata.num_row_groups):
            for batch in file.iter_batches(
                batch_size=_choose_rows(file.metadata.row_group(group), columns),
                row_groups=[group],
                columns=list(columns),
                use_threads=False,
            ):
                yield _unpack_dictionaries(batch)


def _unpack_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with plain columns, so that its size is that of its values."""
    import pyarrow as pa

    if not any(pa.types.is_dictionary(kind) for kind in batch.schema.types):
        return batch
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _choose_rows(group: pq.RowGroupMetaData, columns: Sequence[str]) -> int:
    """Return how many rows fit into memory even if each holds the largest possible value."""
    chunks: list[Any] = [group.column(number) for number in range(group.num_columns)]
    largest: int = sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.partition(".")[0] in columns
    )
    return max(1, min(_MAX_BATCH_ROWS, _MAX_BATCH_BYTES // max(1, largest)))
