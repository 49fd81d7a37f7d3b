"""Read untrusted Arrow data in a child process.

pyarrow 26 aborts the process on some damaged files, in metadata and in pages, and an abort cannot
be caught; other damage makes it request any amount of memory. The child has a memory limit and
sends rows through a pipe; if it ends, that is an error that names the file.
"""

from __future__ import annotations

import base64
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any, NamedTuple

from captune.data.archives.arrow_child import ChildSettings
from captune.data.archives.arrow_sources import ArrowSource, HubSource, ParquetSource
from captune.data.archives.arrow_wire import (
    ASK,
    BATCH,
    END,
    ERROR,
    PARTS,
    PLACE,
    RELEASE,
    WINDOW,
    WINDOW_BYTES,
    read_message,
    write_message,
)
from captune.data.decoders.program import child_command, open_window
from captune.errors import DataError

_MAX_BYTES = 4 << 30
_SECONDS = 600.0
"""Maximum time between two messages; a download has no limit."""


class ArrowRow(NamedTuple):
    """A row and where it is.

    Attributes:
        values: Column -> value.
        place: Its Parquet file; or the `save_to_disk` folder or the hub id, and the split.
        number: Its number there, from 0.
    """

    values: dict[str, Any]
    place: str
    number: int


@dataclass(frozen=True, slots=True)
class ArrowPart:
    """The rows of one split.

    Attributes:
        split: Its name; may be empty.
        features: The columns and their types, as `datasets` describes them.
        unreadable: Columns of a type that `datasets` does not know -> the type, as Arrow names it.
        columns: The columns to read.
        process: The process that reads it.
    """

    split: str
    features: Mapping[str, Any]
    unreadable: Mapping[str, str]
    columns: Sequence[str]
    process: ArrowProcess

    def select_columns(self, names: Sequence[str]) -> ArrowPart:
        """Return the same rows with these columns only."""
        return replace(self, columns=names)

    def __iter__(self) -> Iterator[ArrowRow]:
        return self.process.iter_rows(self.split, self.columns)

    @property
    def place(self) -> str:
        """Where the rows are, for errors about all of them."""
        return self.process.name_place(self.split)


class ArrowProcess:
    """A process that opens a source and reads its splits; a context that ends it."""

    def __init__(self, source: ArrowSource) -> None:
        """Start the process."""
        self._source = source
        self._place = ""
        # A download shows its progress on stderr.
        self._errors = None if isinstance(source, HubSource) else tempfile.TemporaryFile()  # noqa: SIM115
        descriptor, self._window = open_window("captune-rows", WINDOW_BYTES)
        try:
            self._process = self._start(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        self._deadline = time.monotonic() + _SECONDS
        self._has_ended = threading.Event()
        if not isinstance(source, HubSource):
            threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> ArrowProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._process.kill()
        self._process.wait()
        for file in (self._requests, self._answers, self._errors):
            if file is not None:
                file.close()

    @property
    def pid(self) -> int:
        """The id of the child process."""
        return self._process.pid

    def open_parts(self) -> dict[str, ArrowPart]:
        """Return the splits of the source, in order.

        Raises:
            DataError: The source cannot be opened.
        """
        import pyarrow as pa

        kind, content = self._read()
        if kind != PARTS:
            raise self._explain_end()
        parts = {}
        for split, packed in json.loads(content).items():
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(packed)))
            features, unreadable = _read_features(schema)
            parts[split] = ArrowPart(split, features, unreadable, list(features), self)
        return parts

    def name_place(self, split: str) -> str:
        """Return where the rows of a split are."""
        return self._source.name_place(split)

    def iter_rows(self, split: str, columns: Sequence[str]) -> Iterator[ArrowRow]:
        """Yield the rows of a split.

        Raises:
            DataError: They cannot be read.
        """
        place, number = "", 0
        for rows in self._iter_batches(split, columns):
            last, place = place, self._source.name_place(split, self._place)
            number = number if place == last else 0
            for values in rows:
                yield ArrowRow(values, place, number)
                number += 1

    def _iter_batches(self, split: str, columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        import pyarrow as pa

        self._request(ASK, json.dumps([split, list(columns)]).encode())
        while True:
            kind, content = self._read()
            if kind == END:
                return
            try:
                if kind == BATCH:
                    yield _unpack(pa.py_buffer(content))
                elif kind == WINDOW and self._window is not None:
                    found = _unpack(pa.py_buffer(self._window).slice(0, int(content)))
                    self._request(RELEASE)
                    yield found
                else:
                    raise self._explain_end()
            except (pa.ArrowException, ValueError, OverflowError) as error:
                raise self._source.explain(error, self._place) from error

    def _request(self, kind: bytes, content: bytes = b"") -> None:
        # If the child has ended, the next read tells why.
        with suppress(OSError):
            write_message(self._requests, kind, content=content)

    def _read(self) -> tuple[bytes, bytes]:
        """Return the next message that is not a place.

        Raises:
            DataError: The child sent an error, or ended.
        """
        while True:
            self._deadline = time.monotonic() + _SECONDS
            try:
                kind, content = read_message(self._answers)
            except (OSError, EOFError) as error:
                raise self._explain_end() from error
            self._deadline = math.inf
            if kind == ERROR:
                what, where, fix = (str(text) for text in json.loads(content))
                place = "" if self._place in what else self._place
                raise DataError(what, where=where or place, fix=fix)
            if kind != PLACE:
                return kind, content
            self._place = os.fsdecode(content)

    def _watch(self) -> None:
        while not self._has_ended.wait(1):
            if time.monotonic() > self._deadline:
                self._process.kill()
                return

    def _start(self, descriptor: int) -> subprocess.Popen[bytes]:
        source = self._source
        settings = ChildSettings(
            source, _choose_memory(source), _choose_environment(source), descriptor
        )
        return subprocess.Popen(
            child_command("captune.data.archives.arrow_child:run_reader", settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            # Without it, arenas of many threads would be counted.
            env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            pass_fds=(descriptor,) if descriptor >= 0 else (),
        )

    def _explain_end(self) -> DataError:
        """Return why the process ended; end it if it is still running."""
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        place = self._place or "the data set"
        if code < 0:
            name = signal.Signals(-code).name
            return DataError(
                f"{place} is damaged so that reading it ends the process ({name})",
                fix="fetch it again",
            )
        last = self._read_last_line()
        return DataError(
            f"the process that reads {place} ended with code {code}{last and f': {last}'}",
            where=sys.executable,
            fix="free some memory, then run the same command again; if it ends again, fetch the"
            " data again",
        )

    def _read_last_line(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = self._errors.read(100_000).decode("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")[:200]


def _read_features(schema: Any) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return the types of the columns, and those columns whose type `datasets` does not know."""
    import datasets
    import pyarrow as pa

    unknown = (ValueError, TypeError, NotImplementedError)
    try:
        return datasets.Features.from_arrow_schema(schema), {}
    except unknown:
        pass
    features: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    for column in schema:
        try:
            features |= datasets.Features.from_arrow_schema(pa.schema([column]))
        except unknown:
            unreadable[column.name] = str(column.type)
    return features, unreadable


def _unpack(buffer: Any) -> list[dict[str, Any]]:
    """Return copies of the rows in an Arrow stream."""
    import pyarrow as pa

    rows = []
    with pa.ipc.open_stream(buffer) as stream:
        for batch in stream:
            batch.validate(full=True)
            rows += batch.to_pylist()
    return rows


def _choose_memory(source: ArrowSource) -> int:
    """Return the memory limit in bytes; preparing a data set of the hub needs more."""
    if isinstance(source, ParquetSource) or not hasattr(os, "sysconf"):
        return _MAX_BYTES
    return max(_MAX_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def _choose_environment(source: ArrowSource) -> dict[str, str]:
    """Return the settings of `datasets` for the child, which may differ from the environment."""
    if isinstance(source, ParquetSource):
        return {}
    import datasets
    from huggingface_hub import constants

    is_offline = datasets.config.HF_HUB_OFFLINE or constants.HF_HUB_OFFLINE
    # Without an answer, each file would be asked for several times.
    is_offline = is_offline or (isinstance(source, HubSource) and bool(source.no_answer))
    return {
        "HF_DATASETS_CACHE": str(datasets.config.HF_DATASETS_CACHE),
        "HF_HUB_OFFLINE": str(int(is_offline)),
        "HF_HUB_CACHE": str(constants.HF_HUB_CACHE),
        "HF_ENDPOINT": str(constants.ENDPOINT),
    }
