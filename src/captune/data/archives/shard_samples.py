"""Samples in tar shards: the files that share a key become a row with an image and captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from captune.data.archives.tar_index import TarEntry
from captune.data.dataset import LoadedData, LoadOptions, SkippedImage
from captune.data.images import IMAGE_SUFFIXES
from captune.data.names.split_names import name_splits
from captune.data.rows.captions import read_columns
from captune.data.rows.columns import find_captions, read_split
from captune.data.rows.gather import Row, gather_rows, read_name
from captune.data.rows.image_store import ImageStore
from captune.data.rows.text import decode_text, parse_json
from captune.errors import DataError
from captune.records import ImageSource, TarMember
from captune.suggest import format_count

_CAPTION_SUFFIXES = ("txt", "caption", "text", "cap")
TEXT_SUFFIXES = frozenset((".json", *(f".{suffix}" for suffix in _CAPTION_SUFFIXES)))
"""Endings of the members whose content is read."""

_SHARD_SUFFIX = re.compile(r"\.(tar(\.\w+)?|tgz)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar of a data set.

    Attributes:
        name: Path below the data set's root; may give the split.
        where: Path or URL, for errors.
        entries: Called to read the members.
        path: The tar that images are read from later; `None`: images are stored while reading.
        is_streamed: Whether the shard is streamed and may exceed memory: a sample ends where the
            next key begins.
    """

    name: str
    where: str
    entries: Callable[[], Iterator[TarEntry]]
    path: Path | None = None
    is_streamed: bool = False


@dataclass(slots=True)
class Sample:
    """The files of a shard that share one key."""

    name: str = ""
    image: ImageSource | None = None
    keep: Callable[[], ImageSource] | None = None
    image_suffix: str = ""
    captions: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    suffixes: set[str] = field(default_factory=set)
    has_column: bool = False

    @property
    def has_image(self) -> bool:
        """Whether the sample has an image, in the shard or already read."""
        return self.image is not None or self.keep is not None


def gather_shards(shards: Sequence[Shard], options: LoadOptions, *, root: Path) -> LoadedData:
    """Return the records of all shards, in order.

    Members that cannot be used are listed, and links are never followed.

    Raises:
        DataError: A shard cannot be read, holds broken JSON, or the filters leave nothing.
    """
    skipped: list[SkippedImage] = []
    notes: list[str] = []
    store = ImageStore(options.memory_limit)
    reader = _Reader(store, skipped, options.caption_column)
    rows = _iter_rows(shards, reader, notes=notes)
    data = gather_rows(rows, options, format="webdataset", root=root, notes=notes)
    # Close connections now, not when the generator is garbage-collected.
    rows.close()
    reader.require_column()
    if store.num_files:
        kind = "streamed" if any(shard.is_streamed for shard in shards) else "compressed"
        images = format_count(store.num_files, "image")
        kept = f"{images} of {kind} tars stored as files in {store.folder}"
        data = replace(data, notes=(*data.notes, kept))
    return replace(data, skipped=(*data.skipped, *skipped))


@dataclass(slots=True)
class _Reader:
    """Where the members of shards go.

    Attributes:
        store: Images that cannot stay in their tar.
        skipped: Members that cannot be used.
        caption_column: Key of the JSON members with the captions; `None`: detected, and used only
            where there is no text file.
        keys: Keys of the first JSON member without that key.
        found_column: Whether a JSON member has it.
    """

    store: ImageStore
    skipped: list[SkippedImage]
    caption_column: str | None
    keys: tuple[str, ...] = ()
    found_column: bool = False

    def require_column(self) -> None:
        """Refuse a caption column that no sample has.

        Raises:
            DataError: A column is named, and no JSON member has it.
        """
        if self.caption_column is not None and not self.found_column:
            raise DataError(
                f"no JSON file in the shards has the key {self.caption_column!r}; the keys are:"
                f" {', '.join(self.keys) or '(no JSON file)'}",
                where="data.caption_column, or --caption-column",
                fix="name one of them, or remove the setting to read the text files",
            )


def _iter_rows(shards: Sequence[Shard], reader: _Reader, *, notes: list[str]) -> Generator[Row]:
    seen: set[str] = set()
    repeated = 0
    splits = name_splits([Path(shard.name) for shard in shards], root=Path(), notes=notes)
    are_named = len(set(splits)) > 1
    for shard, split in zip(shards, splits, strict=True):
        name = shard.name
        for key, sample in _read_shard(shard, reader):
            given = read_name(sample.columns.get("image_id"))
            image_id = given or key
            if not given and key in seen:
                # Keys are unique within a shard only: many writers start each shard at 0.
                repeated += 1
                image_id = f"{_SHARD_SUFFIX.sub('', name)}/{key}"
            seen.add(image_id)
            yield Row(
                name=f"{name}/{sample.name or key}",
                captions=sample.captions,
                image=sample.image,
                keep=sample.keep,
                image_id=image_id,
                split=(None if are_named else read_split(sample.columns)) or split,
                group=read_name(sample.columns.get("group")) or None,
                columns=sample.columns,
                fault=None if sample.has_image else ("missing", "a caption without an image"),
                where=f"{shard.where}:{sample.name or key}",
            )
    if repeated:
        notes.append(
            f"{format_count(repeated, 'key')} found in several shards: the shard's name was"
            " prepended"
        )


def _read_shard(shard: Shard, reader: _Reader) -> Iterator[tuple[str, Sample]]:
    samples: dict[str, Sample] = {}
    for entry in shard.entries():
        place = f"{shard.name}/{entry.name}"
        if entry.fault:
            fault = SkippedImage(place, place, entry.fault, f"in {shard.where}")
            reader.skipped.append(fault)
            continue
        key, suffix = split_key(entry.name)
        if shard.is_streamed and key not in samples:
            yield from _usable(samples)
            samples.clear()
        sample = samples.setdefault(key, Sample())
        if suffix in sample.suffixes:
            detail = f"occurs twice in {shard.where}; the first is used"
            reader.skipped.append(SkippedImage(place, place, "duplicate_key", detail))
            continue
        sample.suffixes.add(suffix)
        if is_image(suffix):
            _take_image(sample, entry, suffix=suffix, path=shard.path, store=reader.store)
        elif entry.content is not None and f".{suffix}" in TEXT_SUFFIXES:
            where = f"{shard.where}:{entry.name}"
            if suffix == "json":
                _take_json(sample, entry.content, reader, where=where)
            elif not sample.has_column:
                lines = decode_text(entry.content, where=where).split("\n")
                # The text file is the caption; the JSON beside it describes the download.
                sample.captions = tuple(line for line in lines if line.strip()) or ("",)
    yield from _usable(samples)


def _usable(samples: Mapping[str, Sample]) -> Iterator[tuple[str, Sample]]:
    # Without image and caption it is not a sample: statistics, licences, features.
    return ((key, sample) for key, sample in samples.items() if sample.has_image or sample.captions)


def _take_image(
    sample: Sample, entry: TarEntry, *, suffix: str, path: Path | None, store: ImageStore
) -> None:
    if sample.has_image and ("." in suffix or "." not in sample.image_suffix):
        # `a.jpg` is preferred to `a.left.png`: the plain name is the image.
        return
    sample.image_suffix = suffix
    sample.name = entry.name
    if path is not None:
        sample.image = TarMember(path, entry.name, entry.offset, entry.size)
    elif entry.content is not None:
        sample.keep = partial(store.keep, entry.content)


def _take_json(sample: Sample, content: bytes, reader: _Reader, *, where: str) -> None:
    value = parse_json(decode_text(content, where=where), where=where)
    if not isinstance(value, dict):
        return
    sample.columns = value
    columns = find_captions(list(value), reader.caption_column)
    if reader.caption_column is not None:
        sample.has_column = bool(columns)
        reader.found_column |= sample.has_column
        reader.keys = reader.keys or tuple(value)
    if columns and (sample.has_column or not sample.captions):
        sample.captions = read_columns(value, columns, where=where)


def split_key(name: str) -> tuple[str, str]:
    """Return key and ending of a member: `a/b.left.png` is (`a/b`, `left.png`)."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def is_image(suffix: str) -> bool:
    """Return whether an ending, in lower case and without its first dot, is an image's."""
    return f".{suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES
