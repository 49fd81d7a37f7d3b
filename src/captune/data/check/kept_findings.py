"""Fingerprints kept between runs by name, size and time, so that unchanged images are not read.

One file per data set in the cache folder: the thumbnails, then the other columns, then a footer in
JSON with the version and checksums. A file that is damaged or of another version is ignored, like
an image whose file has another size, modification or status change time than it had. Images that
could not be read are not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import numpy.typing as npt
from PIL import __version__ as pillow_version

from captune.data.check.fingerprints import FINGERPRINT, Fingerprints
from captune.data.dataset import LoadedData
from captune.data.decoders.wire import write_all
from captune.data.record_store import PlainSource
from captune.errors import OutputError
from captune.progress import Say
from captune.storage import find_cache_folder, open_folder
from captune.suggest import format_bytes

KEY = np.dtype([("high", np.uint64), ("low", np.uint64)])
"""Hash of an image's name, size and times; 0: it may not be kept."""

_COLUMNS = np.dtype(
    [("key", KEY), *((name, FINGERPRINT[name]) for name in ("pixels", "bands", "width", "height"))]
)
_THUMBNAIL_SHAPE = FINGERPRINT["thumbnail"].shape
_THUMBNAIL_BYTES = FINGERPRINT["thumbnail"].itemsize
_VERSION = f"1 pillow {pillow_version}"
_LENGTH = struct.Struct("<Q")
_YOUNG_NS = 2_000_000_000
"""A file changed so shortly before the check may change again within the same tick of its time."""
_OLD_SECONDS = 86_400
_MIN_FREE_SHARE = 4
_BLOCK = 4096


def image_keys(sources: Iterable[PlainSource], count: int) -> npt.NDArray[np.void]:
    """Return a key (N,) per image, from its name, and the size and times of its file."""
    keys = np.zeros(count, KEY)
    words = keys.view(np.uint64).reshape(count, 2)
    newest = time.time_ns() - _YOUNG_NS
    folder = os.getcwd()  # noqa: PTH109
    archives: dict[Path, str] = {}
    for place, source in enumerate(sources):
        if isinstance(source, bytes):
            continue
        if isinstance(source, str):
            facts = _describe_file(source, newest=newest, folder=folder)
        else:
            if source.archive not in archives:
                archives[source.archive] = _describe_file(
                    source.archive, newest=newest, folder=folder
                )
            facts = archives[source.archive]
            facts = f"{facts}\n{source.member}\n{getattr(source, 'offset', '')}" if facts else ""
        if facts:
            digest = hashlib.blake2b(facts.encode("utf-8", "surrogateescape"), digest_size=16)
            words[place] = np.frombuffer(digest.digest(), np.uint64)
    return keys


def _describe_file(path: Path | str, *, newest: int, folder: str) -> str:
    """Return name, size and times of a file; empty if it is missing or too young."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return ""
    if max(state.st_mtime_ns, state.st_ctime_ns) > newest:
        return ""
    # Joined, not normalised: the same name is written the same way each time.
    name = os.path.join(folder, path)  # noqa: PTH118
    return f"{name}\n{state.st_size}\n{state.st_mtime_ns}\n{state.st_ctime_ns}"


class FingerprintStore:
    """Fingerprints of images, added as they come: columns in memory, thumbnails in a file.

    Args:
        file: A new file, opened for reading and writing; `None`: everything stays in memory.
    """

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._columns: list[npt.NDArray[np.void]] = []
        self._thumbnails: list[npt.NDArray[np.uint8]] = []
        self._digest = hashlib.blake2b(digest_size=16)
        self._count = 0
        self.problem = ""

    def __enter__(self) -> Self:
        """Return the store."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the file, unless it was kept; what is mapped from it can still be read."""
        if self._file is not None:
            with suppress(OSError):
                Path(self._file.name).unlink(missing_ok=True)
                self._file.close()

    def add(self, rows: npt.NDArray[np.void], keys: npt.NDArray[np.void]) -> None:
        """Append fingerprints with their keys."""
        columns = np.zeros(len(rows), _COLUMNS)
        columns["key"] = keys
        for name in ("pixels", "bands", "width", "height"):
            columns[name] = rows[name]
        self._columns.append(columns)
        thumbnails = np.ascontiguousarray(rows["thumbnail"])
        if self._file is not None:
            try:
                write_all(self._file, thumbnails.reshape(-1).data)
                self._digest.update(thumbnails.data)
                self._count += len(rows)
                return
            except OSError as error:
                self._move_to_memory(error)
        self._thumbnails.append(thumbnails)
        self._count += len(rows)

    def read(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
        """Return the columns and the thumbnails of all rows, in the order of adding."""
        columns = np.concatenate([np.zeros(0, _COLUMNS), *self._columns])
        self._columns = [columns]
        if self._file is not None and self._count:
            shape = (self._count, *_THUMBNAIL_SHAPE)
            return columns, np.memmap(self._file, np.uint8, mode="r", shape=shape)
        none = np.zeros((0, *_THUMBNAIL_SHAPE), np.uint8)
        return columns, np.concatenate([none, *self._thumbnails])

    def keep(self, path: Path) -> None:
        """Write columns and footer after the thumbnails, and give the file its name.

        Raises:
            OSError: The disk is full.
        """
        if self._file is None:
            raise OSError(self.problem)
        columns, _ = self.read()
        content = columns.tobytes()
        footer = {
            "version": _VERSION,
            "count": self._count,
            "thumbnails": self._digest.hexdigest(),
            "columns": hashlib.blake2b(content, digest_size=16).hexdigest(),
        }
        text = json.dumps(footer).encode()
        write_all(self._file, content + text + _LENGTH.pack(len(text)))
        os.fsync(self._file.fileno())
        Path(self._file.name).replace(path)

    def _move_to_memory(self, error: OSError) -> None:
        """Read back what the file holds: its disk is full."""
        assert self._file is not None
        self.problem = _reason(error)
        size = self._count * _THUMBNAIL_BYTES
        with open(self._file.name, "rb") as file:  # noqa: PTH123
            content = file.read(size)
        Path(self._file.name).unlink(missing_ok=True)
        self._file.close()
        self._file = None
        shape = (self._count, *_THUMBNAIL_SHAPE)
        self._thumbnails = [np.frombuffer(content, np.uint8).reshape(shape)]


@dataclass(frozen=True, slots=True)
class KeptFindings:
    """The place where the fingerprints of a data set are kept.

    Attributes:
        path: The file; it may not exist yet.
        say: Called with a line when they cannot be kept.
    """

    path: Path
    say: Say

    @classmethod
    def of(cls, name: str, *, folder: Path, say: Say) -> KeptFindings:
        """Return the place of the data set of this name, in a folder."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=12)
        return cls(folder / f"{digest.hexdigest()}.findings", say)

    def load(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
        """Return columns and thumbnails; empty if there are none, or they are damaged."""
        try:
            with self.path.open("rb") as file:
                return _read_file(file)
        except (OSError, ValueError, KeyError, TypeError, struct.error, RecursionError):
            return np.zeros(0, _COLUMNS), np.zeros((0, *_THUMBNAIL_SHAPE), np.uint8)

    def open_store(self, count: int) -> FingerprintStore:
        """Return a store for a number of images; in memory if there is no room on the disk."""
        needed = _MIN_FREE_SHARE * count * (_THUMBNAIL_BYTES + _COLUMNS.itemsize)
        store = FingerprintStore()
        try:
            open_folder(self.path.parent)
            if shutil.disk_usage(self.path.parent).free < needed:
                raise OSError(f"less than {format_bytes(needed)} are free in {self.path.parent}")
            _delete_leftovers(self.path)
            # Unbuffered: a full disk is noticed at once.
            name = f".{self.path.name}.{os.getpid()}"
            return FingerprintStore(self.path.with_name(name).open("w+b", buffering=0))
        except (OSError, OutputError) as error:
            store.problem = _reason(error)
            return store

    def keep(self, store: FingerprintStore) -> None:
        """Keep the fingerprints for the next run; report it if that is not possible."""
        try:
            store.keep(self.path)
        except OSError as error:
            self.say(f"the check's findings are not kept for the next run: {_reason(error)}")


def choose_kept(data: LoadedData, *, say: Say) -> KeptFindings | None:
    """Return where the findings about a data set's images are kept; `None`: it has no folder."""
    if data.root is None:
        return None
    name = os.path.abspath(data.root)  # noqa: PTH100
    return KeptFindings.of(name, folder=find_cache_folder() / "checks", say=say)


def find_kept(
    keys: npt.NDArray[np.void], kept: npt.NDArray[np.void], *, max_pixels: int
) -> npt.NDArray[np.int64]:
    """Return for each key (N,) the row of `kept` that has it; -1: none, or a larger image."""
    found = np.full(len(keys), -1, np.int64)
    if not len(kept) or not len(keys):
        return found
    order = np.argsort(kept["key"]["high"], kind="stable")
    highs = kept["key"]["high"][order]
    places = np.minimum(np.searchsorted(highs, keys["high"]), len(order) - 1)
    rows = order[places]
    pixels = kept["width"].astype(np.uint64) * kept["height"]
    is_same = (kept["key"][rows] == keys) & (keys["high"] != 0) & (pixels[rows] <= max_pixels)
    found[is_same] = rows[is_same]
    return found


def copy_rows(
    rows: npt.NDArray[np.int64],
    kept: tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]],
    *,
    store: FingerprintStore,
) -> None:
    """Append kept fingerprints to a new store."""
    columns, thumbnails = kept
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        full = np.zeros(len(block), FINGERPRINT)
        for name in ("pixels", "bands", "width", "height"):
            full[name] = columns[name][block]
        full["thumbnail"] = thumbnails[block]
        store.add(full, columns["key"][block])


def select_fingerprints(
    columns: npt.NDArray[np.void],
    thumbnails: npt.NDArray[np.uint8],
    *,
    rows: npt.NDArray[np.int64],
) -> Fingerprints:
    """Return some rows as fingerprints."""
    chosen = columns[rows]
    return Fingerprints(
        pixels=np.ascontiguousarray(chosen["pixels"]),
        bands=np.ascontiguousarray(chosen["bands"]),
        widths=chosen["width"].copy(),
        heights=chosen["height"].copy(),
        thumbnails=thumbnails,
        rows=rows,
    )


def _read_file(file: IO[bytes]) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """Return the content of a file.

    Raises:
        ValueError: It is damaged or of another version.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(size - _LENGTH.size)
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if length > min(size, 10_000):
        raise ValueError("no footer")
    file.seek(size - _LENGTH.size - length)
    footer = json.loads(file.read(length))
    count = int(footer["count"])
    end = count * _THUMBNAIL_BYTES
    if footer["version"] != _VERSION or count <= 0:
        raise ValueError("another version")
    file.seek(0)
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, end, 1 << 24):
        digest.update(file.read(min(1 << 24, end - start)))
    content = file.read(count * _COLUMNS.itemsize)
    is_whole = hashlib.blake2b(content, digest_size=16).hexdigest() == footer["columns"]
    if not is_whole or digest.hexdigest() != footer["thumbnails"]:
        raise ValueError("damaged")
    shape = (count, *_THUMBNAIL_SHAPE)
    return np.frombuffer(content, _COLUMNS), np.memmap(file, np.uint8, mode="r", shape=shape)


def _delete_leftovers(path: Path) -> None:
    """Delete the temporary files of killed runs, not those of another run that is at work."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        if time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
            leftover.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
