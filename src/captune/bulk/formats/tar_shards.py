"""Images with their captions in WebDataset shards: `000000.tar`, 10,000 images each.

An image is three members with one key: `000000042.jpg`, `.txt` (the caption) and `.json` (the
row). Keys are numbers, so no untrusted file name becomes a member's name; the row records it.
A shard grows as `000000.tar.part` and is renamed when it is full, so finished shards are not
touched again, and a run that was killed resumes in the unfinished one.

Source: https://github.com/webdataset/webdataset (the format's conventions).
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from PIL import Image

from captune.bulk.items import CaptionedItem
from captune.data import IMAGE_SUFFIXES, describe_source, read_source
from captune.errors import ImageError, OutputError
from captune.inference import UrlImage, prediction_row
from captune.storage import RESUMES, cannot_write, refuse_special, sync_folder

_SHARD_IMAGES, _SHARD_BYTES = 10_000, 2_000_000_000
# Two empty blocks end an archive.
_END = b"\0" * 1024
# Maximum bytes of a row, of which captune's have a few hundred.
_MAX_ROW = 1_000_000


@dataclass(slots=True)
class _State:
    """Progress: number, length and images of the unfinished shard, and images in all shards.

    `first` is the first shard since the output was begun; -1: an older captune did not record it.
    """

    shard: int = 0
    length: int = 0
    num_in_shard: int = 0
    num_images: int = 0
    first: int = -1


class TarShards:
    """A folder of shards, of which only the last one grows.

    Attributes:
        path: The folder.
        missing: Images of the last `add` that could not be read again, and so are in no shard.
    """

    def __init__(self, path: Path, *, shard_images: int = _SHARD_IMAGES) -> None:
        """Keep the folder; nothing is opened yet.

        Args:
            path: The folder.
            shard_images: Number of images per shard.
        """
        self.path, self._shard_images = path, shard_images
        self.missing: list[str] = []
        self._part: IO[bytes] | None = None
        self._state = _State()

    @property
    def name(self) -> str:
        """See `CollectedFormat.name`."""
        return "webdataset"

    def earlier_names(self) -> Iterable[str]:
        """See `CollectedFormat.earlier_names`."""
        for shard in self._finished():
            yield from _names_in(shard)

    def resume(self, state: bytes | None, *, keep_earlier: bool) -> bytes:
        """See `CollectedFormat.resume`.

        Raises:
            OutputError: Also if finished shards would have to be replaced.
        """
        refuse_special(self.path)
        found = _State(**json.loads(state)) if state else None
        finished = list(self._finished())
        if found is None and finished and not keep_earlier:
            raise OutputError(
                f"{self.path} holds shards already, which are never overwritten",
                where="--out",
                fix="choose another folder, or move the .tar files",
            )
        if found is None:
            number = max((int(shard.stem) for shard in finished), default=-1) + 1
            found = _State(number, num_images=number * self._shard_images, first=number)
            if state is None:
                self._refuse_foreign(self._part_path(number))
        self._state = found
        self._open()
        return self._encoded()

    def _refuse_foreign(self, part: Path) -> None:
        # An empty one may be ours: a kill came between its start and the first commit.
        try:
            size = part.stat().st_size if part.exists() else 0
        except OSError as error:
            raise cannot_write(part, error) from error
        if size:
            raise OutputError(
                f"{part} is not part of a run in the journal",
                fix="move it, or choose another --out",
            )

    def add(self, rows: Sequence[CaptionedItem]) -> bytes:
        """See `CollectedFormat.add`; the state is the position in the shards.

        An image that can no longer be read gets no members, and is listed in `missing`.
        """
        self.missing = []
        try:
            for row in rows:
                self._add(row)
            part = self._opened()
            part.flush()
            os.fsync(part.fileno())
        except OSError as error:
            raise cannot_write(self._part_path(self._state.shard), error, then=RESUMES) from error
        return self._encoded()

    def finish(self) -> None:
        """See `CollectedFormat.finish`."""
        try:
            if self._part is not None and self._state.num_in_shard:
                self._complete()
        except OSError as error:
            raise cannot_write(self._part_path(self._state.shard), error, then=RESUMES) from error
        self.close()

    def is_finished(self) -> bool:
        """See `CollectedFormat.is_finished`; unknown, but `finish` can be repeated at any time."""
        return False

    def discard(self) -> None:
        """See `CollectedFormat.discard`."""
        try:
            for shard in self.finished_files():
                shard.unlink()
            self._part_path(self._state.shard).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._state.num_in_shard = 0
        self.close()

    def finished_files(self) -> Sequence[Path]:
        """See `CollectedFormat.finished_files`."""
        first, last = self._state.first, self._state.shard
        numbers = range(first, last + 1) if first >= 0 else ()
        return [path for path in map(self._shard_path, numbers) if path.exists()]

    def close(self) -> None:
        """See `CollectedFormat.close`; an empty shard is deleted."""
        if self._part is None:
            return
        with suppress(OSError):
            self._part.close()
        self._part = None
        if not self._state.num_in_shard:
            with suppress(OSError):
                self._part_path(self._state.shard).unlink(missing_ok=True)
                self.path.rmdir()

    def _add(self, row: CaptionedItem) -> None:
        image = row.item.image
        try:
            if isinstance(image, UrlImage):
                content = image.read()
            elif isinstance(image, Image.Image):
                raise ImageError("io", where=f"{row.item.name} is not a file")
            else:
                content = read_source(image)
        except ImageError:
            self.missing.append(row.item.name)
            return
        if self._is_full(len(content)):
            self._complete()
            self._state.shard += 1
            self._state.length = self._state.num_in_shard = 0
            self._open()
        key = f"{self._state.num_images:09d}"
        caption, values = row.prediction.caption, prediction_row(row.prediction)
        part = self._opened()
        for ending, member in (
            (_suffix(row), content),
            (".txt", caption.encode("utf-8", "replace")),
            (".json", json.dumps(values).encode("ascii")),
        ):
            part.write(_member(f"{key}{ending}", member))
        self._state.num_images += 1
        self._state.num_in_shard += 1
        self._state.length = part.tell()

    def _is_full(self, more: int) -> bool:
        state = self._state
        return state.num_in_shard >= self._shard_images or (
            state.num_in_shard > 0 and state.length + more > _SHARD_BYTES
        )

    def _complete(self) -> None:
        """End the shard, sync it, and rename it to its final name."""
        part, number = self._opened(), self._state.shard
        if self._shard_path(number).exists():
            raise _not_ours(self._shard_path(number))
        part.write(_END)
        part.flush()
        os.fsync(part.fileno())
        part.close()
        self._part = None
        self._part_path(number).replace(self._shard_path(number))
        sync_folder(self.path)

    def _open(self) -> None:
        """Open the unfinished shard at the committed length.

        Raises:
            OutputError: It cannot be written, or lacks committed rows.
        """
        part, length = self._part_path(self._state.shard), self._state.length
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._reopen_later(part)
            file = part.open("r+b" if part.exists() else "x+b")
            sync_folder(self.path)
            size = file.seek(0, os.SEEK_END)
            if size >= length:
                file.truncate(length)
                file.seek(length)
                self._part = file
                return
            file.close()
        except OSError as error:
            raise cannot_write(part, error) from error
        raise OutputError(
            f"{part} lacks images that were written to it",
            fix="put the file back, or write to another --out",
        )

    def _reopen_later(self, part: Path) -> None:
        """Undo what a kill left uncommitted: the shard's final name, and later shards.

        Raises:
            OutputError: There are later shards, but this one was not complete: they are not ours.
        """
        finished = self._shard_path(self._state.shard)
        later = list(self._later())
        if finished.exists() and not part.exists():
            for path in later:
                path.unlink()
            # Last: it shows that the later ones are ours.
            finished.replace(part)
        elif later:
            raise _not_ours(later[0])

    def _later(self) -> Iterator[Path]:
        number = self._state.shard + 1
        while found := [
            path for path in (self._part_path(number), self._shard_path(number)) if path.exists()
        ]:
            yield from found
            number += 1

    def _opened(self) -> IO[bytes]:
        if self._part is None:
            raise ValueError("call resume before add")
        return self._part

    def _encoded(self) -> bytes:
        return json.dumps(asdict(self._state)).encode()

    def _finished(self) -> Iterator[Path]:
        if self.path.is_dir():
            yield from sorted(path for path in self.path.glob("*.tar") if path.stem.isdecimal())

    def _shard_path(self, number: int) -> Path:
        return self.path / f"{number:06d}.tar"

    def _part_path(self, number: int) -> Path:
        return self.path / f"{number:06d}.tar.part"


def _not_ours(shard: Path) -> OutputError:
    return OutputError(
        f"{shard} was not written by this run, which would write a shard of that name",
        where="--out",
        fix=f"move it, then {RESUMES}",
    )


def _member(name: str, content: bytes) -> bytes:
    """Return an archive member: its header and its content, padded to whole blocks."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512)


def _suffix(row: CaptionedItem) -> str:
    item = row.item
    names = [item.name]
    if not isinstance(item.image, UrlImage | Image.Image):
        names.append(describe_source(item.image))
    suffixes = (os.path.splitext(name)[1].lower() for name in names)  # noqa: PTH122
    return next((suffix for suffix in suffixes if suffix in IMAGE_SUFFIXES), ".jpg")


def _names_in(shard: Path) -> Iterator[str]:
    """Yield the names of a shard's images.

    Raises:
        OutputError: It holds something other than captions.
    """
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".json") and member.size < _MAX_ROW:
                    file = archive.extractfile(member)
                    row: dict[str, Any] = {} if file is None else json.load(file)
                    yield str(row["image_id"])
    except (OSError, tarfile.TarError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{shard} holds something other than captions",
            where="--out",
            fix="choose another folder",
        ) from error
