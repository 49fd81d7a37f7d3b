"""Outputs in object storage: written on this machine, and copied there when they are complete.

Object storage cannot append, rename or lock, so a run writes to a folder of the cache, with its
journal, as to any other. For each file the record holds what was last the same on both sides, so
that a change by others is noticed before it is overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captune.bulk.settings import ChosenOutputs, object_url
from captune.bulk.state.collected import mark_of
from captune.bulk.state.place import JournalPlace
from captune.errors import CaptuneError, OutputError
from captune.net import StoredFile, is_object_url
from captune.storage import RUN_AGAIN, read_json_object, write_json


@dataclass(slots=True)
class RemoteOutput:
    """A folder in object storage, and the folder on this machine that is copied to it.

    Attributes:
        url: The folder's URL.
        folder: The folder on this machine.
        record: The file that records what was copied.
        same: For each file, the marks of the object and of the file when they were the same.
    """

    url: str
    folder: Path
    record: Path
    same: dict[str, tuple[str, str]] = field(default_factory=dict)

    def pull(self, outputs: ChosenOutputs, *, will_write: bool = True) -> None:
        """Bring files up to date that others have changed, made or deleted in object storage.

        Args:
            outputs: The outputs.
            will_write: Whether to check that the storage can be written.

        Raises:
            OutputError: A file changed on both sides, the storage cannot be reached or written, or
                it holds shards that this machine did not write.
        """
        for form, path in outputs.collected:
            stored = StoredFile(self._url_of(path))
            if will_write:
                stored.check_writable()
            if form == "webdataset":
                self._pull_shards(stored, path)
            else:
                self._pull(stored, path)
        self._save()

    def push(self, paths: Iterable[Path]) -> list[str]:
        """Copy finished files, delete the objects of deleted ones; return the URLs of both.

        Raises:
            OutputError: An object was changed by others, or cannot be written.
        """
        changed = []
        for path in paths:
            if self._push(StoredFile(self._url_of(path)), path):
                changed.append(self._url_of(path))
                self._save()
        return changed

    def push_restored(self, paths: Iterable[Path]) -> list[str]:
        """Copy files that an undo restored; return the URLs of objects that others have changed.

        These are left as they are, and the next run fetches them.

        Raises:
            OutputError: An object cannot be read, written or deleted.
        """
        left = []
        for path in paths:
            stored = StoredFile(self._url_of(path))
            here = _mark(path)
            old_there, old_here = self._known(path)
            if here != old_here and self._is_of_others(stored, path):
                left.append(stored.url)
                self._note(path, old_there or "")
            else:
                self._push(stored, path)
            self._save()
        return left

    def _pull(self, stored: StoredFile, path: Path) -> None:
        there, here = stored.mark(), _mark(path)
        old_there, old_here = self._known(path)
        if there == old_there:
            return
        if here != old_here and not _is_same(stored, path):
            raise _both_changed(stored.url, path)
        if there is None:
            path.unlink(missing_ok=True)
        elif here == old_here:
            stored.download(path)
        self._note(path, there)

    def _push(self, stored: StoredFile, path: Path) -> bool:
        here = _mark(path)
        _, old_here = self._known(path)
        if here == old_here:
            return False
        if self._is_of_others(stored, path):
            raise _both_changed(stored.url, path)
        if here is not None:
            stored.upload(path)
        elif stored.mark() is not None:
            stored.delete()
        self._note(path, None if here is None else stored.mark())
        return True

    def _is_of_others(self, stored: StoredFile, path: Path) -> bool:
        """Return whether others changed an object since it was last the same as a file."""
        old_there, _ = self._known(path)
        return stored.mark() != old_there and not _is_same(stored, path)

    def _pull_shards(self, stored: StoredFile, path: Path) -> None:
        """Refuse shards of other machines; delete those that others deleted in the storage."""
        found = {self._name_of(path / name) for name in stored.names_below()}
        others = sorted(name for name in found - set(self.same) if name.endswith(".tar"))
        if others:
            raise OutputError(
                f"{self.url}/{others[0]} was not written by this machine",
                where="--out",
                fix="choose another folder",
            )
        inside = f"{self._name_of(path)}/"
        for name in [one for one in self.same if one.startswith(inside) and one not in found]:
            shard = self.folder / name
            if _mark(shard) not in (None, self.same[name][1]):
                raise _both_changed(f"{self.url}/{name}", shard)
            shard.unlink(missing_ok=True)
            del self.same[name]

    def _known(self, path: Path) -> tuple[str | None, str | None]:
        return self.same.get(self._name_of(path), (None, None))

    def _note(self, path: Path, there: str | None) -> None:
        here = _mark(path)
        if there is None or here is None:
            self.same.pop(self._name_of(path), None)
        else:
            self.same[self._name_of(path)] = (there, here)

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _url_of(self, path: Path) -> str:
        return f"{self.url}/{self._name_of(path)}"

    def _save(self) -> None:
        write_json(self.record, {"url": self.url, "same": self.same})


def remote_of(place: JournalPlace, out: Path | None = None) -> RemoteOutput | None:
    """Return the object storage of an output; `None`: it is on this machine.

    Args:
        place: The journal.
        out: The output as the user named it; `None`: only an earlier run's record counts.

    Raises:
        OutputError: The record is damaged.
    """
    if place.remote.is_file():
        fix = f"delete it and {RUN_AGAIN}"
        kept: dict[str, Any] = read_json_object(place.remote, fix=fix)
        try:
            same = {name: (str(there), str(here)) for name, (there, here) in kept["same"].items()}
            return RemoteOutput(str(kept["url"]), place.folder, place.remote, same)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise OutputError(
                f"{place.remote} is damaged: it does not name copies", fix=fix
            ) from error
    if out is None or not is_object_url(out.as_posix()):
        return None
    url = object_url(out)
    # With several formats, the journal is in the folder of the files, not in that around it.
    folder = url if place.folder.name == url.rpartition("/")[2] else url.rpartition("/")[0]
    return RemoteOutput(folder, place.folder, place.remote)


def describe_copies(urls: Sequence[str]) -> str:
    """Return what was copied, in words; empty: nothing."""
    if not urls:
        return ""
    more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
    return f"copied to {urls[0]}{more}"


def _mark(path: Path) -> str | None:
    mark = mark_of(path)
    return None if mark is None else mark.hex()


def _is_same(stored: StoredFile, path: Path) -> bool:
    """Return whether both sides are the same, as after a kill between the copy and its record."""
    if not path.is_file():
        return stored.mark() is None
    with suppress(CaptuneError, OSError), path.open("rb") as file:
        return all(file.read(len(block)) == block for block in stored.read_blocks()) and (
            not file.read(1)
        )
    return False


def _both_changed(url: str, path: Path) -> OutputError:
    return OutputError(
        f"{url} was changed by others since it was last the same as {path}",
        where="--out",
        fix="choose another --out, or delete or rename one of the two files",
    )
