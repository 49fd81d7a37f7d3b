"""The program of a process that reads Arrow data, so that a crash of pyarrow ends only it."""

from __future__ import annotations

import base64
import json
import mmap
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

from captune.data.archives.arrow_sources import ArrowSource, Part, load_errors
from captune.data.archives.arrow_wire import (
    BATCH,
    END,
    ERROR,
    PARTS,
    PLACE,
    WINDOW,
    WINDOW_BYTES,
    read_message,
    write_message,
)
from captune.data.decoders.limits import forbid_core_files, limit_data
from captune.data.decoders.program import read_settings
from captune.errors import CaptuneError, DataError
from captune.stopping import ignore_signals

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_BATCH_BYTES = 2**30 - 2**20
_SENT_BYTES = 4 << 20
"""Rows are sent together up to this size: each message costs switches between the processes."""

_MAX_VALUES = 20_000_000
"""Maximum values in a batch: encodings make millions of null captions of a few bytes."""


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """Settings of a reading process.

    Attributes:
        source: What is read.
        max_bytes: Maximum memory beyond that of the idle process.
        environment: Values of `datasets.config` that were changed in the parent.
        descriptor: The shared memory; -1: rows are sent through the pipe.
    """

    source: ArrowSource
    max_bytes: int
    environment: Mapping[str, str]
    descriptor: int


def run_reader() -> None:
    """Send the splits, then the rows that the parent asks for, until it closes the pipe."""
    settings = cast("ChildSettings", read_settings())
    ignore_signals()
    os.environ.update(settings.environment)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    # What libraries print must not reach the answers.
    os.dup2(2, 1)
    sys.excepthook = lambda _kind, error, _trace: _report(answers, error)
    forbid_core_files()
    window = mmap.mmap(settings.descriptor, WINDOW_BYTES) if settings.descriptor >= 0 else None
    answer_requests(settings, _Rows(requests, answers, window))


def answer_requests(settings: ChildSettings, rows: _Rows) -> None:
    """Answer requests; every error ends the process after it was sent."""
    source, answers, place = settings.source, rows.answers, [""]

    def announce(name: str) -> None:
        # Rows that wait are of the file before.
        rows.flush()
        place[0] = name
        write_message(answers, PLACE, content=os.fsencode(name))

    try:
        _prepare_pyarrow(settings.max_bytes)
        parts = source.open(announce)
        schemas = {split: _pack_schema(part.schema) for split, part in parts.items()}
        write_message(answers, PARTS, content=json.dumps(schemas).encode())
        while True:
            _, content = read_message(rows.requests)
            split, columns = json.loads(content)
            rows.send(parts[split], columns)
    except (BrokenPipeError, EOFError):
        # The parent has read enough.
        return
    except CaptuneError as error:
        _send_error(answers, error)
    except MemoryError:
        what = f"reading {place[0]} needs more than {settings.max_bytes / 2**30:.0f} GiB of memory"
        fix = "do not trust this file; write it again, with smaller row groups"
        _send_error(answers, DataError(what, fix=fix))
    except load_errors() as error:
        _send_error(answers, source.explain(error, place[0]))


def _prepare_pyarrow(max_bytes: int) -> None:
    import pyarrow as pa

    pa.set_cpu_count(1)
    limit_data(max_bytes)


def _pack_schema(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize()).decode()


@dataclass(slots=True)
class _Rows:
    """Sends rows to the parent."""

    requests: IO[bytes]
    answers: IO[bytes]
    window: mmap.mmap | None
    is_in_use: bool = False
    waiting: list[pa.RecordBatch] = field(default_factory=list)

    def send(self, part: Part, columns: list[str]) -> None:
        for batch in part.iter_batches(columns):
            _refuse_swollen(batch)
            if sum(each.nbytes for each in self.waiting) + batch.nbytes > _SENT_BYTES:
                self.flush()
            self.waiting.append(batch)
            if part.is_stream:
                # The next row may be far away, or never wanted.
                self.flush()
        self.flush()
        self._wait()
        write_message(self.answers, END)

    def flush(self) -> None:
        """Send the rows that wait for more."""
        import pyarrow as pa

        batches, self.waiting = self.waiting, []
        if not batches:
            return
        if self.window is None or sum(batch.nbytes for batch in batches) > WINDOW_BYTES // 2:
            sink = pa.BufferOutputStream()
            _write_stream(batches, sink)
            write_message(self.answers, BATCH, content=memoryview(sink.getvalue()))
            return
        self._wait()
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(self.window))
        _write_stream(batches, sink)
        self.is_in_use = True
        write_message(self.answers, WINDOW, content=str(sink.tell()).encode())

    def _wait(self) -> None:
        """Wait until the parent has read the rows in the window."""
        if self.is_in_use:
            read_message(self.requests)
            self.is_in_use = False


def _write_stream(batches: list[pa.RecordBatch], sink: Any) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _refuse_swollen(batch: pa.RecordBatch) -> None:
    if batch.nbytes > _MAX_BATCH_BYTES or _count_values(batch.columns) > _MAX_VALUES:
        raise DataError(
            f"{batch.num_rows} rows take {batch.nbytes:,} bytes; at most"
            f" {_MAX_BATCH_BYTES:,} bytes and {_MAX_VALUES:,} values are read at once",
            fix="do not trust this data set",
        )


def _count_values(arrays: list[Any]) -> int:
    import pyarrow as pa

    count = 0
    while arrays:
        array = arrays.pop()
        count += len(array)
        if pa.types.is_struct(array.type):
            arrays += [array.field(number) for number in range(array.type.num_fields)]
        elif hasattr(array, "flatten") and hasattr(array, "values"):
            arrays.append(array.values)
    return count


def _send_error(answers: IO[bytes], error: CaptuneError) -> None:
    texts = [error.what, error.where, error.fix]
    write_message(answers, ERROR, content=json.dumps(texts).encode())


def _report(answers: IO[bytes], error: BaseException) -> None:
    """Send an error that no reader of data is known to raise, in place of a traceback."""
    text = f"{type(error).__name__}: {error}"[:300]
    _send_error(answers, DataError(f"cannot read the data set: {text}", fix="fetch it again"))
