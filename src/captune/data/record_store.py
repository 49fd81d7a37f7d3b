"""Records as rows of bytes, made into objects on access: a million take 200 MB instead of 1 GB.

A `RecordStore` is a sequence of `CaptionRecord`s like a list. Its rows are in memory, or lines of a
file that is mapped into it; a copy for another process then shares the file. Splits are an array,
so that other splits or a selection of records copy no row.
"""

from __future__ import annotations

import marshal
import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
import numpy.typing as npt

from captune.records import SPLITS, CaptionRecord, ImageSource, Split, TarMember, ZipMember
from captune.suggest import format_count

_NONE = len(SPLITS)
"""The code of records without a split; the others are positions in `SPLITS`."""
_NAMES: tuple[Split | None, ...] = (*SPLITS, None)
_BLOCK = 4096
_CODES = {name: code for code, name in enumerate(_NAMES)}

Codes = npt.NDArray[np.uint8]
PlainSource = str | bytes | ZipMember | TarMember


class ByteRows:
    """Rows of bytes in one block of memory; a row may be replaced."""

    def __init__(self) -> None:
        self._block = bytearray()
        self._starts, self._ends = array("q"), array("q")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, place: int) -> bytearray:
        return self._block[self._starts[place] : self._ends[place]]

    def append(self, row: bytes) -> None:
        """Add a row."""
        self._starts.append(len(self._block))
        self._block += row
        self._ends.append(len(self._block))

    def replace(self, place: int, row: bytes) -> None:
        """Replace a row; the bytes of the old one stay behind, unused, unless the new one fits."""
        start = self._starts[place]
        if len(row) > self._ends[place] - start:
            start = len(self._block)
            self._block += row
        else:
            self._block[start : start + len(row)] = row
        self._starts[place], self._ends[place] = start, start + len(row)


class FileRows:
    """Lines of files that are mapped into memory, without their line feeds.

    Args:
        paths: The files.
        files: Position in `paths` of each row's file, uint8 (N,).
        edges: First byte and end of each row in its file, int64 (N, 2).
    """

    def __init__(
        self, paths: Sequence[Path], files: npt.NDArray[np.uint8], edges: npt.NDArray[np.int64]
    ) -> None:
        self._paths, self._files, self._edges = tuple(paths), files, edges
        self._maps = [_map_file(path) for path in paths]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, place: int) -> bytes:
        start, end = self._edges[place].tolist()
        return bytes(self._maps[self._files[place]][start:end])

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process maps the same files.
        return FileRows, (self._paths, self._files, self._edges)


class PlainRecord(NamedTuple):
    """A record without its split, whose file is text: creating `Path`s takes half of the time.

    Attributes:
        image_id: The record's id.
        source: The path of its file, or another source than a file.
        captions: Its captions.
        group: Its group.
        file_name: Its name for the user; `None`: the id.
    """

    image_id: str
    source: PlainSource
    captions: Sequence[str]
    group: str | None
    file_name: str | None


class Coder(Protocol):
    """Makes a record from a row."""

    def decode(self, row: bytearray | bytes, split: Split | None) -> CaptionRecord:
        """Return the record."""

    def decode_plain(self, row: bytearray | bytes) -> PlainRecord:
        """Return the record without its split, as plain values."""

    def decode_captions(self, row: bytearray | bytes) -> Sequence[str]:
        """Return the record's captions, without making the record."""


class RecordStore(Sequence[CaptionRecord]):
    """Records that are made when they are used; compares like a list of them."""

    def __init__(
        self,
        rows: ByteRows | FileRows,
        coder: Coder,
        *,
        splits: Codes,
        places: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Store what makes the records.

        Args:
            rows: Rows of bytes.
            coder: Makes a record from a row.
            splits: Code of each record's split, uint8 (N,).
            places: Row of each record, int64 (N,); `None`: all rows in order.
        """
        self._rows, self._coder, self._places = rows, coder, places
        self.split_codes = splits

    def __len__(self) -> int:
        return len(self.split_codes)

    @overload
    def __getitem__(self, place: int) -> CaptionRecord: ...
    @overload
    def __getitem__(self, place: slice) -> RecordStore: ...
    def __getitem__(self, place: int | slice) -> CaptionRecord | RecordStore:
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        size = len(self)
        if not -size <= place < size:
            raise IndexError(f"no record {place} of {size}")
        place = int(place) % size
        row = place if self._places is None else self._places[place]
        return self._coder.decode(self._rows[row], _NAMES[self.split_codes[place]])

    def __iter__(self) -> Iterator[CaptionRecord]:
        decode, rows = self._coder.decode, self._rows
        for row, code in zip(self._iter_rows(), self.split_codes.tobytes(), strict=True):
            yield decode(rows[row], _NAMES[code])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<RecordStore of {format_count(len(self), 'record')}>"

    def iter_captions(self) -> Iterator[Sequence[str]]:
        """Yield the captions of each record, without making the records."""
        decode, rows = self._coder.decode_captions, self._rows
        for row in self._iter_rows():
            yield decode(rows[row])

    def iter_plain(self) -> Iterator[PlainRecord]:
        """Yield each record as plain values, in half the time of the record."""
        decode, rows = self._coder.decode_plain, self._rows
        for row in self._iter_rows():
            yield decode(rows[row])

    def _iter_rows(self) -> Iterator[int]:
        if self._places is None:
            yield from range(len(self))
            return
        # Python's integers index faster than numpy's; a million at once are 40 MB.
        for start in range(0, len(self), _BLOCK):
            yield from self._places[start : start + _BLOCK].tolist()

    def select(self, places: npt.NDArray[np.int64]) -> RecordStore:
        """Return some records, in the order of their positions `places`."""
        rows = places if self._places is None else self._places[places]
        return RecordStore(self._rows, self._coder, splits=self.split_codes[places], places=rows)

    def with_splits(self, codes: Codes) -> RecordStore:
        """Return the records with other splits."""
        return RecordStore(self._rows, self._coder, splits=codes, places=self._places)


class MemoryCoder:
    """Rows for memory, in Python's own format; encoded images stay objects beside them."""

    def __init__(self) -> None:
        self._contents: list[bytes] = []
        self._places: dict[int, int] = {}

    def encode(self, record: CaptionRecord) -> bytes:
        """Return a record's row, without its split."""
        name = None if record.file_name == record.image_id else record.file_name
        source = self.encode_source(record.image)
        return marshal.dumps((record.image_id, source, record.captions, record.group, name))

    def decode(self, row: bytearray | bytes, split: Split | None) -> CaptionRecord:
        """Return the record of a row."""
        image_id, source, captions, group, name = marshal.loads(row)
        file_name = image_id if name is None else name
        image = self.decode_source(source)
        return CaptionRecord(image_id, image, captions, split, group, file_name)

    def decode_plain(self, row: bytearray | bytes) -> PlainRecord:
        """Return the record of a row as plain values."""
        image_id, source, captions, group, name = marshal.loads(row)
        plain = source if isinstance(source, str) else self.decode_source(source)
        return PlainRecord(image_id, plain, captions, group, name)  # type: ignore[arg-type]

    def decode_captions(self, row: bytearray | bytes) -> Sequence[str]:
        """Return the captions of a row."""
        captions: tuple[str, ...] = marshal.loads(row)[2]
        return captions

    def encode_source(self, source: ImageSource) -> Any:
        """Return an image's source in types that `marshal` writes."""
        if isinstance(source, Path):
            return str(source)
        if isinstance(source, ZipMember):
            return str(source.archive), source.member
        if isinstance(source, TarMember):
            return str(source.archive), source.member, source.offset, source.size
        # Equal images are often one object.
        place = self._places.setdefault(id(source), len(self._contents))
        if place == len(self._contents):
            self._contents.append(source)
        return place

    def decode_source(self, value: Any) -> ImageSource:
        """Return the source that `encode_source` wrote."""
        if isinstance(value, str):
            return Path(value)
        if isinstance(value, int):
            return self._contents[value]
        archive, *rest = value
        return (
            ZipMember(Path(archive), *rest) if len(rest) == 1 else TarMember(Path(archive), *rest)
        )

    def __getstate__(self) -> list[bytes]:
        return self._contents

    def __setstate__(self, contents: list[bytes]) -> None:
        self._contents = contents
        self._places = {id(content): place for place, content in enumerate(contents)}


def store_records(records: Iterable[CaptionRecord]) -> RecordStore:
    """Return records as a store in memory."""
    coder, rows, codes = MemoryCoder(), ByteRows(), bytearray()
    for record in records:
        rows.append(coder.encode(record))
        codes.append(_CODES[record.split])
    return RecordStore(rows, coder, splits=np.frombuffer(codes, np.uint8))


def iter_plain(records: Iterable[CaptionRecord]) -> Iterator[PlainRecord]:
    """Yield records as plain values; those of a store are not made for it."""
    return records.iter_plain() if isinstance(records, RecordStore) else map(_as_plain, records)


def _as_plain(record: CaptionRecord) -> PlainRecord:
    source = str(record.image) if isinstance(record.image, Path) else record.image
    name = None if record.file_name == record.image_id else record.file_name
    return PlainRecord(record.image_id, source, record.captions, record.group, name)


def code_of(split: Split | None) -> int:
    """Return the code of a split."""
    return _CODES[split]


def read_split_codes(records: Sequence[CaptionRecord]) -> Codes:
    """Return the code of each record's split, uint8 (N,)."""
    if isinstance(records, RecordStore):
        return records.split_codes
    return np.fromiter((_CODES[record.split] for record in records), np.uint8, len(records))


def count_by_split(records: Sequence[CaptionRecord]) -> dict[Split | None, int]:
    """Return the number of records of each split, and of none, without those that are empty."""
    counts = np.bincount(read_split_codes(records), minlength=len(_NAMES)).tolist()
    return {name: number for name, number in zip(_NAMES, counts, strict=True) if number}


def set_splits(records: Sequence[CaptionRecord], codes: Codes) -> Sequence[CaptionRecord]:
    """Return the records with other splits: a store for a store, else a list."""
    if isinstance(records, RecordStore):
        return records.with_splits(codes)
    return [
        replace(record, split=_NAMES[code]) for record, code in zip(records, codes, strict=True)
    ]


def drop_splits(records: Sequence[CaptionRecord]) -> Sequence[CaptionRecord]:
    """Return the records without a split."""
    return set_splits(records, np.full(len(records), _NONE, np.uint8))


def pick_records(
    records: Sequence[CaptionRecord], places: npt.NDArray[np.int64]
) -> Sequence[CaptionRecord]:
    """Return the records at some positions: a store for a store, else a list."""
    if isinstance(records, RecordStore):
        return records.select(places)
    return [records[place] for place in places.tolist()]


class CaptionTexts(Sequence[str]):
    """The captions of all records in order, made while they are read; any slice is a list."""

    def __init__(self, records: Sequence[CaptionRecord]) -> None:
        self._records = records
        self._count: int | None = None

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(map(len, self._iter_images()))
        return self._count

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._iter_images())

    def _iter_images(self) -> Iterable[Sequence[str]]:
        if isinstance(self._records, RecordStore):
            return self._records.iter_captions()
        return (record.captions for record in self._records)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            steps = (place.start, place.stop, place.step)
            if any(number is not None and number < 0 for number in steps):
                return list(self)[place]
            return list(islice(self, *steps))
        wanted = place if place >= 0 else place + len(self)
        for text in islice(self, wanted, None) if wanted >= 0 else ():
            return text
        raise IndexError(f"no caption {place} of {len(self)}")


def _map_file(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            # An empty file.
            return b""
