"""Stream the images that the inputs of a bulk run name, each once, without holding them all.

What can be checked at once, such as an input that does not exist or a file that is not a tar, is
an error before anything is captioned. Later faults are listed, and the other images are captioned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from captune.bulk.formats.parquet_file import ROW_COLUMNS
from captune.bulk.items import FoundItem, Item
from captune.bulk.sources.lists import Listed, ListFormat, read_list
from captune.data import IMAGE_SUFFIXES
from captune.errors import ColumnError, DataError, ImageError
from captune.inference import (
    ImageSearch,
    SkippedLink,
    UnreadableImage,
    UrlFetcher,
    UrlImage,
    UrlRules,
    check_url,
    is_folder,
    is_url,
    no_images,
)
from captune.net import ObjectFetcher, check_storage, is_object_url, list_objects
from captune.storage import TextSet, is_folder_entry

if TYPE_CHECKING:
    from captune.data import StreamedImage

# The readers of data sets are imported where an input is one: for a few photographs, importing all
# of them takes longer than captioning.
_ARCHIVE_ENDINGS = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".parquet")
_SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How inputs are read.

    Attributes:
        follow_links: Follow links that lead out of a folder.
        url_rules: Which URLs may be opened; `None`: none.
        list_from: A file that lists images, `-` for stdin; `None`: no list.
        list_format: Format of that file.
        image_column: Column of the images in Parquet, hub data sets and lists; `None`: detected.
        revision: Revision of hub data sets whose id names none; `None`: the newest.
    """

    follow_links: bool = False
    url_rules: UrlRules | None = None
    list_from: str | None = None
    list_format: ListFormat = "lines"
    image_column: str | None = None
    revision: str | None = None


_DEFAULTS = SourceOptions()


def find_items(inputs: Sequence[str], options: SourceOptions = _DEFAULTS) -> Iterator[FoundItem]:
    """Return a stream of the images of all inputs, in order, but with URLs last.

    An input is a file, a folder, a glob, a tar or a folder of tars, a Parquet file or a folder of
    them, a folder of `save_to_disk`, a hub id `owner/name` or `owner/name@REVISION`, a URL, or an
    address in object storage.
    In a folder of photos, files come in order of their names, subfolders among them; a folder of
    more than 20,000 entries comes in pieces of that size. An image given twice comes once.

    Args:
        inputs: Inputs as the user named them; may be empty if there is a list.
        options: How to read them.

    Raises:
        DataError: An input does not exist or cannot be read, raised at once; or nothing was found,
            raised at the end.
    """
    plan = _Plan(options, ImageSearch(follow_links=options.follow_links), TextSet())
    # Files first: a network that is down or slow does not hold them up.
    in_order = sorted(inputs, key=lambda text: is_url(text) and not Path(text).exists())
    streams = [plan.open(text) for text in in_order]
    names = list(inputs)
    if options.list_from is not None:
        streams.append(plan.open_list(options.list_from))
        names.append(options.list_from)
    if not streams:
        raise DataError("no input", fix="name files or folders, or a list: --from FILE")
    return _refuse_nothing(chain.from_iterable(streams), names)


def _refuse_nothing(found: Iterator[FoundItem], names: Sequence[str]) -> Iterator[FoundItem]:
    is_empty, num_links = True, 0
    for one in found:
        if isinstance(one, SkippedLink):
            num_links += 1
        else:
            is_empty = False
        yield one
    if is_empty:
        raise no_images(names, num_links=num_links)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Turns each input into a stream of images.

    Attributes:
        options: How to read them.
        search: Finds files, each once.
        others: URLs, archives and tables that are open already, so that each is read once.
    """

    options: SourceOptions
    search: ImageSearch
    others: TextSet

    def open(self, text: str) -> Iterator[FoundItem]:
        """Return the stream of one input, which is checked at once."""
        if not text:
            raise DataError("an input is empty", fix="give a path, or '.' for this folder")
        path = Path(text)
        if path.exists():
            return self._open_place(path)
        if is_object_url(text):
            return self._open_objects(text)
        if is_url(text):
            return self._open_url(text)
        if (data_set := _hub_id_in(text)) is not None:
            name, revision = data_set
            return self._stream(text, lambda: self._rows(name, revision=revision))
        return self.search.expand(text)

    def open_list(self, place: str) -> Iterator[FoundItem]:
        """Return the stream of a list; entries that do not exist are listed as failures."""
        listed = read_list(place, self.options.list_format, column=self.options.image_column)
        return chain.from_iterable(map(self._take, listed))

    def _open_place(self, path: Path) -> Iterator[FoundItem]:
        if is_folder(path):
            from captune.data import find_saved

            if find_saved(path):
                return self._stream(str(path), lambda: self._rows(path))
            archives = list_archives(path)
            if archives:
                return chain.from_iterable(map(self._open_archive, archives))
            return self.search.walk(path)
        if path.name.lower().endswith(_SHARD_SUFFIXES):
            from captune.data import stream_shard

            return self._stream(str(path), lambda: stream_shard(path), file=path)
        if path.suffix.lower() == ".parquet":
            return self._stream(str(path), lambda: self._rows(path), file=path)
        return self.search.take((path,))

    def _open_archive(self, path: Path) -> Iterator[FoundItem]:
        """Return the stream of an archive of a folder, in which a run may have put its captions."""
        try:
            return self._open_place(path)
        except ColumnError as error:
            if set(error.columns) != set(ROW_COLUMNS):
                raise
            return iter(())

    def _rows(self, place: str | Path, *, revision: str | None = None) -> Iterator[StreamedImage]:
        from captune.data import stream_rows

        options = self.options
        revision = revision or options.revision
        return stream_rows(place, column=options.image_column, revision=revision)

    def _open_url(self, url: str) -> Iterator[FoundItem]:
        refused = check_url(url, self.options.url_rules)
        if refused is not None:
            return iter((refused,))
        assert self.options.url_rules is not None
        if not self.others.add(url):
            return iter(())
        fetcher = UrlFetcher(self.options.url_rules)
        return iter((Item(url, UrlImage(url, fetcher)),))

    def _open_objects(self, url: str) -> Iterator[FoundItem]:
        if url.lower().endswith(_ARCHIVE_ENDINGS):
            raise DataError(
                f"{url} is an archive or a table, and object storage is read image by image",
                fix="copy it to this machine first: aws s3 cp",
            )
        fetcher = ObjectFetcher()
        found = list_objects(url, suffixes=IMAGE_SUFFIXES)
        return (
            Item(one.url, UrlImage(one.url, fetcher), size=one.size, mtime_ns=one.mtime_ns)
            for one in found
            if self.others.add(one.url)
        )

    def _take_object(self, url: str) -> Iterator[FoundItem]:
        """Return a listed object, which is not looked up until it is read."""
        check_storage(url)
        return iter((Item(url, UrlImage(url, ObjectFetcher())),) if self.others.add(url) else ())

    def _take(self, listed: Listed) -> Iterator[FoundItem]:
        if is_object_url(listed.text):
            return self._take_object(listed.text)
        if is_url(listed.text):
            try:
                return self._open_url(listed.text)
            except DataError as error:
                refused = ImageError("url_forbidden", where=listed.where, fix=error.fix)
                return iter((UnreadableImage(listed.text, refused),))
        path = Path(listed.text)
        if "\0" in listed.text:
            refused = ImageError("missing", where=f"{listed.where}: no file name holds NUL")
            return iter((UnreadableImage(listed.text, refused),))
        if is_folder(path):
            refused = ImageError("io", where=f"{listed.where}: {path} is a folder")
            return iter((UnreadableImage(listed.text, refused),))
        return self.search.take((path,))

    def _stream(
        self, place: str, read: Callable[[], Iterator[StreamedImage]], *, file: Path | None = None
    ) -> Iterator[FoundItem]:
        """Return the images of an archive or a table; its first image is read at once."""
        if not self.others.add(str(file.resolve()) if file else place):
            return iter(())
        images = read()
        first = next(images, None)
        return _name_images(place, () if first is None else chain((first,), images), file=file)


def _name_images(
    place: str, images: Iterable[StreamedImage], *, file: Path | None
) -> Iterator[FoundItem]:
    mtime_ns = file.stat().st_mtime_ns if file is not None else None
    try:
        for image in images:
            name = f"{place}/{image.name}"
            if image.source is None:
                yield UnreadableImage(name, image.error or ImageError("missing", where=name))
            else:
                size = getattr(image.source, "size", None)
                yield Item(name, image.source, size=size, mtime_ns=mtime_ns if size else None)
    except DataError as error:
        # A fault in the middle: the images before it stay, and the rest is one failure.
        yield UnreadableImage(f"{place}/(the rest)", ImageError("truncated", where=error.what))


def _hub_id_in(text: str) -> tuple[str, str] | None:
    """Return a hub data set and its revision or "", if an absent input can be nothing else."""
    name, at, revision = text.partition("@")
    path = Path(name)
    if path.suffix.lower() in IMAGE_SUFFIXES or path.parent.exists():
        return None
    from captune.data import is_hub_id

    if not is_hub_id(name) or bool(at) != bool(revision):
        return None
    return name, revision


def list_archives(folder: Path) -> list[Path]:
    """Return the tars or the Parquet files of a folder that holds nothing else to caption.

    Beside photos or other folders, an archive is taken for a backup, and not read.
    """
    parents = {os.fspath(path) for path in (*_split_folders(folder), folder / "data")}
    has_archives = False
    try:
        with os.scandir(folder) as entries:
            # In any order: in a folder of a million photos, the first photo ends the scan.
            for entry in entries:
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                is_other = is_folder_entry(entry) and entry.path not in parents
                if not entry.name.startswith(".") and (is_other or suffix in IMAGE_SUFFIXES):
                    return []
                has_archives = has_archives or suffix in _ARCHIVE_ENDINGS or is_folder_entry(entry)
    except OSError:
        return []
    if not has_archives:
        return []
    from captune.data import list_shards

    tables = [*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]
    archives = list_shards(folder) or sorted(path for path in tables if path.is_file())
    used = {os.fspath(path.parent) for path in archives}
    holds_more = any(parent not in used for parent in parents if is_folder(Path(parent)))
    return [] if holds_more else archives


def _split_folders(folder: Path) -> list[Path]:
    return [folder / name for name in ("train", "val", "validation", "test")]
