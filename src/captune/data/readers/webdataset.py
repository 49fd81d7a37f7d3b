"""WebDataset: tar shards in which files with one key form a sample, `000001.jpg`, `000001.txt`.

Images stay in their shards: a record stores the offset of its image in the tar, so nothing is
unpacked and any process reads any image with one seek. A key is the name up to the first dot after
its last slash. img2dataset and WebDataset's own writer create such shards.
Source: github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

from captune.data.archives.archive import is_lfs_pointer
from captune.data.archives.shard_samples import (
    TEXT_SUFFIXES,
    Shard,
    gather_shards,
    is_image,
    split_key,
)
from captune.data.archives.shards import expand_shard_urls, expand_shards, list_shards
from captune.data.archives.tar_index import TarEntry, is_plain_tar, iter_tar, iter_tar_stream
from captune.data.dataset import CHECK_DATA, LoadedData, LoadOptions, StreamedImage
from captune.errors import DataError, ImageError
from captune.net import UrlStream, url_path
from captune.records import TarMember
from captune.storage import TextSet, list_visible

# Members inspected to decide whether a tar holds samples.
_PROBED = 64


def find_webdataset(place: Path) -> str | None:
    """Return the names of the shards at a place; `None` when none has images and captions."""
    shards = list_shards(place)
    if not shards or not (_holds_samples(shards[0]) or _is_all_there_is(place, shards)):
        return None
    more = f" and {len(shards) - 3} more" if len(shards) > 3 else ""
    return ", ".join(path.name for path in shards[:3]) + more


def read_webdataset(place: Path, options: LoadOptions) -> LoadedData:
    """Read one shard, a folder of shards, or those of a pattern such as `train-{000..003}.tar`.

    Shards named train, val or test, or in folders with these names, give the splits. Members that
    cannot be used (absolute names or `..`, devices and links, a second file with the same key and
    ending) are listed; links are never followed.

    Raises:
        DataError: There is no shard, one of the pattern is missing, or one is not a tar.
    """
    shards = list_shards(place) if place.exists() else expand_shards(place)
    if not shards:
        raise DataError(
            f"no .tar file in {place}",
            fix=CHECK_DATA,
        )
    root = place
    if not place.is_dir():
        root = Path(os.path.commonpath([shard.parent for shard in shards]))
    return gather_shards([_local_shard(path, root=root) for path in shards], options, root=root)


def stream_shard(path: Path) -> Generator[StreamedImage]:
    """Yield the images of a tar in order, however large it is; texts are skipped.

    Every member with an image's ending is one; members that cannot be used have an error. A shard
    that is damaged in the middle ends with one.

    Raises:
        DataError: It is not a tar, or is damaged before its first member.
    """
    seen = TextSet()
    is_plain, has_begun = is_plain_tar(path), False
    try:
        for entry in iter_tar(path, text_suffixes=frozenset()):
            has_begun = True
            if not entry.fault and not is_image(split_key(entry.name)[1]):
                continue
            fault = entry.fault or ("" if seen.add(entry.name) else "duplicate_key")
            if fault:
                error = ImageError(fault, where=f"{path}:{entry.name}")
                # The first of two members with one name keeps it.
                name = entry.name if entry.fault else f"{entry.name}@{entry.offset}"
                yield StreamedImage(name, error=error)
            elif is_plain:
                member = TarMember(path, entry.name, entry.offset, entry.size)
                yield StreamedImage(entry.name, member)
            else:
                yield StreamedImage(entry.name, entry.content or b"")
    except DataError as error:
        if not has_begun:
            raise
        yield StreamedImage("(the rest)", error=ImageError("truncated", where=error.what))
    finally:
        seen.close()


def read_shard_urls(place: str, options: LoadOptions) -> LoadedData:
    """Read the shards that a URL names, one after the other, without storing the tars.

    `https://host/train-{000..003}.tar` names four. As in WebDataset, a sample is complete when the
    next key begins, so `options.limit` can stop inside a shard.

    Raises:
        DataError: Streaming is off, the URL does not name tar shards, or one cannot be read.
    """
    urls = expand_shard_urls(place)
    if not options.streaming:
        raise DataError(
            f"{len(urls)} shard{' is' if len(urls) == 1 else 's are'} at a URL: {place}",
            where="data.path",
            fix="read over the network with data.streaming: true (--streaming), which stores only"
            " the images; or fetch the shards and give their folder",
        )
    paths = [PurePosixPath(url_path(url)) for url in urls]
    root = os.path.commonpath([path.parent for path in paths])
    shards = [
        Shard(
            name=path.relative_to(root).as_posix(),
            where=url,
            entries=partial(_stream_entries, url),
            is_streamed=True,
        )
        for url, path in zip(urls, paths, strict=True)
    ]
    return replace(gather_shards(shards, options, root=Path()), root=None)


def _stream_entries(url: str) -> Iterator[TarEntry]:
    with UrlStream(url) as stream:
        yield from iter_tar_stream(stream, name=url)


def _local_shard(path: Path, *, root: Path) -> Shard:
    return Shard(
        name=path.relative_to(root).as_posix(),
        where=str(path),
        entries=lambda: iter_tar(path, text_suffixes=TEXT_SUFFIXES),
        # A compressed tar cannot be read from the middle: its images are stored.
        path=path if is_plain_tar(path) else None,
    )


def _holds_samples(path: Path) -> bool:
    try:
        entries = iter_tar(path, text_suffixes=frozenset())
        keys = [split_key(entry.name) for entry in islice(entries, _PROBED)]
    except DataError:
        return False
    images = {key for key, suffix in keys if is_image(suffix)}
    texts = {key for key, suffix in keys if f".{suffix}" in TEXT_SUFFIXES}
    return bool(images & texts)


def _is_all_there_is(place: Path, shards: list[Path]) -> bool:
    """Return whether only shards can be meant, so that reading them reports any problems."""
    if place.is_file():
        return True
    others = [path for path in list_visible(place) if path not in shards]
    return not others or is_lfs_pointer(shards[0])
