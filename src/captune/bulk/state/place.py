"""Where a run's journal is, and the lock that keeps other runs away from its outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path

from captune.bulk.feed.planner import RunShare
from captune.bulk.settings import BulkSettings, ChosenOutputs, follow_link
from captune.errors import OutputError
from captune.net import is_url
from captune.storage import STATE_FOLDER, lock_file

_WHOLE = "bulk"
# The journal of a folder, or of a share of its images; others are named after their output file.
_WHOLE_NAME = re.compile(rf"{_WHOLE}(?:-(\d+)of(\d+))?")


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where a run keeps its state.

    Attributes:
        folder: The folder whose `.captune` holds it.
        name: `bulk` for a folder, or the name of the output file; with the shard, if any.
        images: The folder of the images, if files are written beside them and the journal is in
            another folder; else `None`.
    """

    folder: Path
    name: str
    images: Path | None = None

    @property
    def database(self) -> Path:
        """The journal."""
        return self.folder / STATE_FOLDER / f"{self.name}.sqlite"

    @property
    def remote(self) -> Path:
        """The record of what was copied to object storage."""
        return self.folder / STATE_FOLDER / f"{self.name}.remote.json"

    @property
    def failures(self) -> Path:
        """The list of failed images."""
        name = "failures.jsonl" if self.name == _WHOLE else f"{self.name}.failures.jsonl"
        return self.folder / STATE_FOLDER / name

    @property
    def page(self) -> Path:
        """The page of the last run."""
        name = "run.html" if self.name == _WHOLE else f"{self.name}.html"
        return self.folder / STATE_FOLDER / name

    def collected(self, form: str) -> Path:
        """Return the path of a collected output whose journal this is."""
        share = _WHOLE_NAME.fullmatch(self.name)
        if share is None:
            return self.folder / self.name
        mark = "" if share[1] is None else f"-{int(share[1]):05}-of-{int(share[2]):05}"
        return follow_link(self.folder / f"captions{mark}.{form}")

    def beside(self, shard: RunShare | None) -> JournalPlace | None:
        """Return where a run on the same images keeps its journal; this run locks it too."""
        return (
            None if self.images is None else JournalPlace(self.images, _WHOLE + _shard_name(shard))
        )

    def has_lock(self, folder: Path, owner: str, *, shard: RunShare | None) -> bool:
        """Return whether a lock belongs to this run."""
        places = [place for place in (self, self.beside(shard)) if place is not None]
        return any(
            owner == place.name and folder.resolve() == place.folder.resolve() for place in places
        )

    @property
    def replaced(self) -> Path:
        """The folder of the files that runs have replaced."""
        return self.folder / STATE_FOLDER / "replaced"


def choose_place(
    outputs: ChosenOutputs, settings: BulkSettings, *, inputs: Sequence[str]
) -> JournalPlace | None:
    """Return where the journal of a run is; `None`: it writes to the screen only.

    Raises:
        OutputError: Files go beside images whose common folder cannot hold a journal or a lock.
    """
    if not outputs.names:
        return None
    out = settings.local_out
    single = outputs.collected[0][1] if len(outputs.collected) == 1 else None
    name = _WHOLE + _shard_name(settings.feed.share)
    images = common_folder(inputs) if outputs.per_image else None
    if images is not None and len(inputs) > 1:
        _refuse_read_only_parent(images, inputs)
    if out is not None and single is not None and single.parent != out:
        return JournalPlace(single.parent, single.name, images)
    if out is None or images is None or out.resolve() == images.resolve():
        return JournalPlace(common_folder(inputs) if out is None else out, name)
    return JournalPlace(out, name, images)


def _refuse_read_only_parent(folder: Path, inputs: Sequence[str]) -> None:
    is_named = any(Path(text).resolve() == folder for text in inputs)
    if is_named or not folder.is_dir() or os.access(folder, os.W_OK | os.X_OK):
        return
    raise OutputError(
        f"the inputs have only the folder {folder} in common, and captune cannot keep its journal"
        " there",
        fix="caption them one after the other, or write one file: --to jsonl --out FILE",
    )


def common_folder(inputs: Sequence[str]) -> Path:
    """Return the folder that holds all inputs; without any, as for a list, the current one."""
    folders = []
    for text in inputs:
        if is_url(text) or not (os.path.lexists(text) or has_magic(text)):
            # The hub's `owner/name`: with a journal in a folder of that name, the next command
            # would look for the data set on this disk.
            continue
        fixed = Path(text)
        while has_magic(str(fixed)) and not os.path.lexists(fixed):
            fixed = fixed.parent
        folders.append(fixed if fixed.is_dir() else fixed.parent)
    if not folders:
        return Path()
    if len(folders) == 1:
        return folders[0]
    return _around([folder.resolve() for folder in folders]) or Path()


def _around(folders: Iterable[Path]) -> Path | None:
    """Return the folder that holds all of these; `None`: they are on several drives of Windows."""
    try:
        return Path(os.path.commonpath(list(folders)))
    except ValueError:
        return None


@contextmanager
def hold(
    place: JournalPlace, *, shard: RunShare | None, files: Iterable[Path] = ()
) -> Iterator[None]:
    """Lock a run's outputs for this process.

    Args:
        place: Where its journal is.
        shard: Its share of the images; other shares may write beside the same images.
        files: The collected outputs, which a run with a journal of their own would lock too.

    Raises:
        OutputError: Another run, which is named, holds them or a folder around them; or the state
            folder is a file.
    """
    state = place.folder / STATE_FOLDER
    if state.exists() and not state.is_dir():
        raise OutputError(
            f"{state} is a file, and captune keeps its journal in a folder of that name",
            fix="move or rename it",
        )
    with ExitStack() as held:
        held.enter_context(lock_file(place.folder / place.name))
        for path in files:
            if path != place.folder / place.name:
                held.enter_context(lock_file(path))
        if _WHOLE_NAME.fullmatch(place.name):
            _refuse_around(place, shard)
        beside = place.beside(shard)
        if beside is not None:
            held.enter_context(lock_file(beside.folder / beside.name))
            _refuse_around(beside, shard)
        yield


@contextmanager
def hold_folders(place: JournalPlace, changed: Iterable[Path]) -> Iterator[None]:
    """Lock the folders whose files an undo restores, wherever the journal is.

    Args:
        place: The journal, whose lock is held already.
        changed: The folders; those that no longer exist are ignored.

    Raises:
        OutputError: A run, which is named, holds one of them or a folder around it.
    """
    folders = {folder.resolve() for folder in changed if folder.is_dir()}
    if not folders:
        yield
        return
    around = _around(folders)
    own = place.folder.resolve()
    is_inside = _WHOLE_NAME.fullmatch(place.name) and all(
        one.is_relative_to(own) for one in folders
    )
    with ExitStack() as held:
        if around is not None and not is_inside and os.access(around, os.W_OK):
            place = replace(place, images=around)
            held.enter_context(lock_file(around / _WHOLE))
        for folder in {one for start in folders for one in (start, *start.parents)}:
            refuse_held(folder, but=place, shard=None)
        yield


def _refuse_around(place: JournalPlace, shard: RunShare | None) -> None:
    for folder in (place.folder.resolve(), *place.folder.resolve().parents):
        refuse_held(folder, but=place, shard=shard)


def refuse_held(folder: Path, *, but: JournalPlace, shard: RunShare | None) -> None:
    """Refuse to write into a folder that another run holds; shards of one command may share it.

    Raises:
        OutputError: Another run, which is named, holds it.
    """
    state = folder / STATE_FOLDER
    try:
        found = [path.name for path in state.iterdir() if path.suffix == ".lock"]
    except OSError:
        return
    for name in found:
        owner = name.removesuffix(".lock")
        if but.has_lock(folder, owner, shard=shard) or not _WHOLE_NAME.fullmatch(owner):
            continue
        if shard is not None and owner.endswith(f"of{shard.count}"):
            continue
        with lock_file(folder / owner):
            # The lock is free: a kill left its file.
            continue


def _shard_name(shard: RunShare | None) -> str:
    return "" if shard is None else f"-{shard.index}of{shard.count}"
