"""Find images that would share one output file, before anything is written in their folder."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from captune.bulk.formats.interface import PerImageFormat
from captune.bulk.items import Item
from captune.bulk.journal.database import Database
from captune.data import IMAGE_SUFFIXES
from captune.errors import ImageError, OutputError
from captune.inference import ImageFile
from captune.storage import MAX_NAME_BYTES, fold_name

_OTHER = "write one file elsewhere: --to jsonl --out FILE"
_FIX = "name the files after the full image name: --sidecar-name full"
# Length of the longest ending that a format adds: `.caption`.
_MAX_ENDING = 8
# 16 MB, of which a small folder touches little.
_NUM_BITS = 1 << 27


class NameGuard:
    """Refuses folders whose images would share a file; such images of lists and globs fail."""

    def __init__(
        self,
        formats: Mapping[str, PerImageFormat],
        *,
        folders: Sequence[str],
        follow_links: bool,
        database: Database,
        refuse_held: Callable[[Path], None],
    ) -> None:
        """Keep the formats and folders, and start without claimed file names.

        Args:
            formats: The formats of one file per image.
            folders: The inputs that are folders.
            follow_links: Whether links that lead out of a folder count as images.
            database: Holds the file names of this run in a temporary table: there may be millions.
            refuse_held: Called with each folder; refuses one that another run holds.
        """
        self._all = tuple(formats.values())
        self._formats = {name: one for name, one in formats.items() if _drops_endings(one)}
        # As the search names images: those of `.` and `./photos/` are `a.jpg` and `photos/a.jpg`.
        searched = {Path(folder) for folder in folders}
        self._searches_here = Path() in searched
        self._starts = tuple(os.path.join(folder, "") for folder in searched)  # noqa: PTH118
        self._refuse_held = refuse_held
        self._writes_beside = bool(formats)
        self._follow_links, self._database = follow_links, database
        self._named = {str(folder) for folder in searched}
        # The folders seen so far, each with whether its images can have files beside them.
        self._is_writable: dict[str, bool] = {}
        database.write(
            "CREATE TEMP TABLE IF NOT EXISTS claims(folded BLOB, target BLOB, name BLOB,"
            " PRIMARY KEY(folded, target)) WITHOUT ROWID"
        )
        database.write("DELETE FROM temp.claims")

    def check(self, item: Item) -> ImageError | None:
        """Return why an image cannot have a file of its own; `None`: it can.

        Raises:
            OutputError: Images of its folder would share a file, the folder is an input and cannot
                be written, or another run holds it.
        """
        if item.file is None or not self._writes_beside:
            return None
        folder, name = os.path.split(item.file)
        if folder not in self._is_writable:
            self._is_writable[folder] = not _is_read_only(folder)
            if not self._is_writable[folder] and str(Path(folder)) in self._named:
                raise _not_writable(folder)
            self._refuse_held(Path(folder))
            if self._formats and self._is_in_a_folder(item.name):
                self._check_folder(folder)
        if len(os.fsencode(name)) > MAX_NAME_BYTES - _MAX_ENDING:
            error = self._check_length(item)
            if error is not None:
                return error
        return None if self._is_in_a_folder(item.name) else self._claim(item)

    def check_folder(self, item: Item) -> ImageError | None:
        """Return why nothing can be written beside an image; `None`: it can.

        Called after `check`.
        """
        if item.file is None or not self._writes_beside:
            return None
        folder = os.path.dirname(item.file)  # noqa: PTH120
        if self._is_writable[folder]:
            return None
        return ImageError("io", where=f"cannot write beside the images in {folder}", fix=_OTHER)

    def _is_in_a_folder(self, name: str) -> bool:
        if name.startswith(self._starts):
            return True
        # Names of other inputs may lead out of the current folder.
        return self._searches_here and not (
            os.path.isabs(name) or name.startswith(f"..{os.sep}")  # noqa: PTH117
        )

    def _check_folder(self, folder: str) -> None:
        # Hashes of names, not names: a folder may hold a million.
        shared = find_repeated(lambda: (hash(fold_name(stem)) for stem, _ in self._images(folder)))
        if not shared:
            return
        images: dict[str, list[str]] = {}
        for stem, name in self._images(folder):
            if hash(fold_name(stem)) in shared:
                images.setdefault(fold_name(stem), []).append(name)
        clashes = [sorted(names) for names in images.values() if _share(folder, names)]
        if clashes:
            self._refuse(folder, clashes)

    def _refuse(self, folder: str, clashes: Sequence[list[str]]) -> None:
        first = min(clashes)
        form = next(iter(self._formats.values()))
        target = form.path_for(_item_at(Path(folder) / first[0]))
        more = f" (and {len(clashes) - 1} more)" if len(clashes) > 1 else ""
        raise OutputError(f"{' and '.join(first)} would share the file {target}{more}", fix=_FIX)

    def _images(self, folder: str) -> Iterator[tuple[str, str]]:
        try:
            with os.scandir(folder or os.curdir) as found:
                for entry in found:
                    stem, ending = os.path.splitext(entry.name)  # noqa: PTH122
                    if ending.lower() not in IMAGE_SUFFIXES or entry.name.startswith("."):
                        continue
                    if self._follow_links or not entry.is_symlink():
                        yield stem, entry.name
        except OSError:
            # The scan of the inputs reports it.
            return

    def _check_length(self, item: Item) -> ImageError | None:
        for form in self._all:
            target = form.path_for(item)
            if len(os.fsencode(target.name)) > MAX_NAME_BYTES:
                return ImageError(
                    "name_too_long",
                    where=f"the file name {target.name} is longer than {MAX_NAME_BYTES} bytes",
                    fix="use --sidecar-name stem, or write one file: --to jsonl --out FILE",
                )
        return None

    def _claim(self, item: Item) -> ImageError | None:
        path = item.path or Path()
        for form in self._formats.values():
            place = os.path.abspath(form.path_for(item))  # noqa: PTH100
            target, own = os.fsencode(place), os.fsencode(path)
            folded = fold_name(place).encode("utf-8", "surrogatepass")
            for claimed, owner in self._database.rows(
                "SELECT target, name FROM temp.claims WHERE folded = ?", (folded,)
            ):
                if owner != own and (claimed == target or _ignores_case(path)):
                    where = f"{os.fsdecode(owner)} uses the same file"
                    return ImageError("name_collision", where=where, fix=_FIX)
            self._database.write(
                "INSERT OR IGNORE INTO temp.claims VALUES (?, ?, ?)", (folded, target, own)
            )
        return None


def find_repeated(read: Callable[[], Iterable[int]]) -> set[int]:
    """Return the numbers that occur more than once, in memory that is the same for millions.

    Args:
        read: Returns the numbers, signed and of 64 bits; called twice if any may be repeated.
    """
    # Few numbers that differ share a bit: of a million, 4,000.
    seen, doubtful = bytearray(_NUM_BITS // 8), set[int]()
    for number in read():
        place, bit = divmod(number % _NUM_BITS, 8)
        if seen[place] >> bit & 1:
            doubtful.add(number % _NUM_BITS)
        seen[place] |= 1 << bit
    del seen
    if not doubtful:
        return set()
    numbers = array("q", (number for number in read() if number % _NUM_BITS in doubtful))
    values, counts = np.unique(np.asarray(numbers), return_counts=True)
    return set(values[counts > 1].tolist())


def refuse_read_only(folder: Path | str) -> None:
    """Refuse a folder in which no files can be written beside the images.

    Raises:
        OutputError: It exists and cannot be written.
    """
    if _is_read_only(folder):
        raise _not_writable(folder)


def _not_writable(folder: Path | str) -> OutputError:
    return OutputError(f"cannot write beside the images in {folder}", fix=_OTHER)


def _is_read_only(folder: Path | str) -> bool:
    may_write = os.access(folder or os.curdir, os.W_OK | os.X_OK)
    return not may_write and Path(folder).is_dir()


def _drops_endings(form: PerImageFormat) -> bool:
    """Return whether images whose names differ only in the ending share a file."""
    one, other = (form.path_for(_item_at(Path("folder") / name)) for name in ("a.jpg", "a.png"))
    return one == other


def _item_at(path: Path) -> Item:
    return Item(str(path), ImageFile(str(path)))


def _share(folder: str, names: Sequence[str]) -> bool:
    """Return whether images whose folded names are equal share a file on this file system."""
    stems = [os.path.splitext(name)[0] for name in names]  # noqa: PTH122
    return len(set(stems)) < len(stems) or _ignores_case(Path(folder) / names[0])


def _ignores_case(image: Path) -> bool:
    """Return whether `a.jpg` and `A.JPG` are the same file on the image's file system."""
    other = image.with_name(image.name.swapcase())
    try:
        return other != image and other.samefile(image)
    except OSError:
        return False
