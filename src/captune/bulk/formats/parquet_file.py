"""All captions in one Parquet file, without the images.

A Parquet file cannot grow, because its index is at the end. So rows are first written to a `.part`
file of JSON lines, as for JSONL files, and become row groups when the run ends.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from captune.bulk.formats.row_file import RowFile, rows_of
from captune.errors import OutputError
from captune.storage import TextSet

_ROW_GROUP = 10_000
ROW_COLUMNS = ("image_id", "caption", "mean_logprob", "num_tokens", "finish_reason", "flags")
"""The columns of a file of captions, which has no images."""
# A byte of a file name that is not UTF-8, in escaped form: Parquet strings are UTF-8.
_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


class ParquetFile(RowFile):
    """One Parquet file with the columns of JSONL files."""

    def __init__(self, path: Path) -> None:
        """Keep the path; nothing is opened yet."""
        super().__init__("parquet", path)

    def _write_all(self, file: IO[bytes], part: IO[bytes], *, new: TextSet) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text = pa.string()
        types = (text, text, pa.float64(), pa.int64(), text, pa.list_(text))
        schema = pa.schema(list(zip(ROW_COLUMNS, types, strict=True)))
        part.seek(0)
        earlier = self._earlier_rows() if self._keep_earlier else iter(())
        kept = (row for row, _ in earlier if str(row["image_id"]) not in new)
        added = (row for row, _ in rows_of(part, "jsonl", path=self.part_path))
        rows = map(_to_columns, itertools.chain(kept, added))
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while group := list(itertools.islice(rows, _ROW_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))

    def _earlier_rows(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.path.exists():
            return
        try:
            with pq.ParquetFile(self.path) as file:
                found = set(file.schema_arrow.names)
                if not {"image_id", "caption"} <= found:
                    raise ValueError("no captions")
                _refuse_columns(self.path, found - set(ROW_COLUMNS))
                names = [name for name in ROW_COLUMNS if name in found]
                for batch in file.iter_batches(_ROW_GROUP, columns=names):
                    for row in batch.to_pylist():
                        row["image_id"] = _ESCAPED_BYTE.sub(_to_surrogate, str(row["image_id"]))
                        yield row, ""
        except (OSError, ValueError, pa.ArrowException) as error:
            raise OutputError(
                f"{self.path} holds something other than captions",
                where="--out",
                fix="choose another file, or overwrite this one with --force",
            ) from error


def _refuse_columns(path: Path, others: set[str]) -> None:
    """Refuse to add to a file whose other columns would be lost when it is written again."""
    if others:
        raise OutputError(
            f"{path} has columns that captune does not write: {', '.join(sorted(others))}",
            where="--out",
            fix="choose another file",
        )


def _to_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row, with strings that are valid UTF-8."""
    found = {name: row.get(name) for name in ROW_COLUMNS}
    for name, value in found.items():
        if isinstance(value, str):
            found[name] = value.encode("utf-8", "backslashreplace").decode()
    return found


def _to_surrogate(match: re.Match[str]) -> str:
    return str(json.loads(f'"{match[0]}"'))
