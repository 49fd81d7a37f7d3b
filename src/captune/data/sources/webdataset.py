"""WebDataset: tar shards whose files of one key make a sample, `000001.jpg` and `000001.txt`.

Images stay in their shards: a record knows where in the tar its image lies, so nothing is
unpacked and any image is one seek away, from any worker process. A key is a name up to the first
dot behind its last slash. img2dataset and WebDataset's own writer make such shards.
Source: github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from captune.data.archives import is_lfs_pointer
from captune.data.images import IMAGE_SUFFIXES
from captune.data.loaded import LoadedData, LoadOptions, SkippedImage
from captune.data.sources.columns import find_captions
from captune.data.sources.jsonl import read_captions
from captune.data.sources.rows import Row, gather_rows, parse_split
from captune.data.sources.shards import expand_shards, list_shards
from captune.data.sources.store import ImageStore
from captune.data.tars import TarEntry, is_plain_tar, iter_tar
from captune.data.text import decode_text, explain_json
from captune.errors import DataError
from captune.records import ImageSource, Split, TarMember

_CAPTION_SUFFIXES = ("txt", "caption", "text", "cap")
_TEXT_SUFFIXES = frozenset((".json", *(f".{suffix}" for suffix in _CAPTION_SUFFIXES)))
_SHARD_SUFFIX = re.compile(r"\.(tar(\.\w+)?|tgz)$", re.IGNORECASE)
# So many members show whether a tar holds samples or is anybody's archive.
_PROBED = 64


@dataclass(slots=True)
class _Sample:
    """What a shard holds under one key."""

    name: str = ""
    image: ImageSource | None = None
    image_suffix: str = ""
    captions: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    suffixes: set[str] = field(default_factory=set)


def find_webdataset(place: Path) -> str | None:
    """The shards at a place; `None` when there are none with images and captions."""
    shards = list_shards(place)
    if not shards or not (_holds_samples(shards[0]) or _is_all_there_is(place, shards)):
        return None
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
    return ", ".join(path.name for path in shards[:3]) + more


def read_webdataset(place: Path, options: LoadOptions) -> LoadedData:
    """Read one shard, a folder of them, or all that a pattern names: `train-{000..003}.tar`.

    Shards named train, val or test, or in folders so named, are splits. Members that cannot be
    used (absolute names or `..`, devices and links, a second file of one key and ending) are
    listed, never followed.

    Raises:
        DataError: No shard, a shard of the pattern is absent, or one is no tar.
    """
    shards = list_shards(place) if place.exists() else expand_shards(place)
    if not shards:
        raise DataError(f"no .tar file in {place}")
    root = place
    if not place.is_dir():
        root = Path(os.path.commonpath([shard.parent for shard in shards]))
    skipped: list[SkippedImage] = []
    notes: list[str] = []
    store = ImageStore(options.memory_limit)
    rows = _iter_rows(shards, root=root, store=store, skipped=skipped, notes=notes)
    data = gather_rows(rows, options, format="webdataset", root=root, notes=notes)
    if store.num_files:
        kept = f"{store.num_files} images of compressed tars are kept as files in {store.folder}"
        data = replace(data, notes=(*data.notes, kept))
    return replace(data, skipped=(*data.skipped, *skipped))


def _holds_samples(path: Path) -> bool:
    try:
        entries = iter_tar(path, text_suffixes=frozenset())
        keys = [_split_name(entry.name) for entry in islice(entries, _PROBED)]
    except DataError:
        return False
    images = {key for key, suffix in keys if _is_image(suffix)}
    texts = {key for key, suffix in keys if f".{suffix}" in _TEXT_SUFFIXES}
    return bool(images & texts)


def _is_all_there_is(place: Path, shards: list[Path]) -> bool:
    """Whether nothing else can be meant, so that reading should say what is wrong with it."""
    if place.is_file():
        return True
    others = [path for path in place.iterdir() if path not in shards]
    return not others or is_lfs_pointer(shards[0])


def _iter_rows(
    shards: list[Path],
    *,
    root: Path,
    store: ImageStore,
    skipped: list[SkippedImage],
    notes: list[str],
) -> Iterator[Row]:
    seen: set[str] = set()
    repeated = 0
    for shard in shards:
        name = shard.relative_to(root).as_posix()
        split = next((s for part in reversed(Path(name).parts) if (s := _shard_split(part))), None)
        for key, sample in _read_shard(shard, name=name, store=store, skipped=skipped).items():
            image_id = key
            if key in seen:
                # Keys are one shard's own; many writers start each shard at 0.
                repeated += 1
                image_id = f"{_SHARD_SUFFIX.sub('', name)}/{key}"
            seen.add(image_id)
            yield Row(
                name=f"{name}/{sample.name or key}",
                captions=sample.captions,
                image=sample.image,
                image_id=image_id,
                split=split,
                columns=sample.columns,
                fault=None if sample.image else ("missing", "a caption without an image"),
            )
    if repeated:
        notes.append(f"{repeated} keys are in several shards; the shard's name was put before them")


def _shard_split(part: str) -> Split | None:
    stem, _, _ = part.partition(".")
    return parse_split(stem) or parse_split(stem.partition("-")[0])


def _read_shard(
    shard: Path, *, name: str, store: ImageStore, skipped: list[SkippedImage]
) -> Mapping[str, _Sample]:
    samples: dict[str, _Sample] = {}
    # What is compressed cannot be read from the middle: its images are kept.
    unpacked = None if is_plain_tar(shard) else store
    for entry in iter_tar(shard, text_suffixes=_TEXT_SUFFIXES):
        where = f"{name}/{entry.name}"
        if entry.fault:
            skipped.append(SkippedImage(where, where, entry.fault, f"in {shard}"))
            continue
        key, suffix = _split_name(entry.name)
        sample = samples.setdefault(key, _Sample())
        if suffix in sample.suffixes:
            detail = f"{shard} has it twice; the first is used"
            skipped.append(SkippedImage(where, where, "duplicate_key", detail))
            continue
        sample.suffixes.add(suffix)
        if _is_image(suffix):
            _take_image(sample, entry, suffix=suffix, shard=shard, store=unpacked)
        elif entry.content is not None and f".{suffix}" in _TEXT_SUFFIXES:
            _take_text(sample, entry.content, suffix=suffix, where=f"{shard}:{entry.name}")
    # Without image and caption it is no sample: statistics, licences, features.
    return {key: sample for key, sample in samples.items() if sample.image or sample.captions}


def _take_image(
    sample: _Sample, entry: TarEntry, *, suffix: str, shard: Path, store: ImageStore | None
) -> None:
    if sample.image is not None and ("." in suffix or "." not in sample.image_suffix):
        # `a.jpg` before `a.left.png`: the plain name is the image, others are its company.
        return
    sample.image_suffix = suffix
    sample.name = entry.name
    if store is None:
        sample.image = TarMember(shard, entry.name, entry.offset, entry.size)
    elif entry.content is not None:
        sample.image, _ = store.keep(entry.content)


def _take_text(sample: _Sample, content: bytes, *, suffix: str, where: str) -> None:
    if suffix != "json":
        lines = decode_text(content).split("\n")
        texts = tuple(line for line in lines if line.strip()) or ("",)
        # The text file is what the model should say; the JSON beside it tells of the download.
        sample.captions = texts
        return
    text = decode_text(content)
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise explain_json(error, text, where=where) from error
    if not isinstance(value, dict):
        return
    sample.columns = value
    columns = find_captions(list(value), None)
    if columns and not sample.captions:
        sample.captions = read_captions([value[name] for name in columns], where=where)


def _split_name(name: str) -> tuple[str, str]:
    """Key and ending of a member: `a/b.left.png` is (`a/b`, `left.png`)."""
    folder, slash, last = name.rpartition("/")
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def _is_image(suffix: str) -> bool:
    return f".{suffix.rpartition('.')[2]}" in IMAGE_SUFFIXES
