"""WebDataset: tar shards whose files of one key make a sample, `000001.jpg` and `000001.txt`.

Images stay in their shards: a record knows where in the tar its image lies, so nothing is
unpacked and any image is one seek away, from any worker process. A key is a name up to the first
dot behind its last slash. img2dataset and WebDataset's own writer make such shards.
Source: github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

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
from captune.data.dataset import LoadedData, LoadOptions
from captune.errors import DataError
from captune.net import UrlStream

# So many members show whether a tar holds samples or is anybody's archive.
_PROBED = 64


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
    return gather_shards([_local_shard(path, root=root) for path in shards], options, root=root)


def read_shard_urls(place: str, options: LoadOptions) -> LoadedData:
    """Read the shards that a URL names, one after the other, none of them kept whole.

    `https://host/train-{000..003}.tar` names four. A sample is complete when the next key begins,
    as WebDataset has it, so that `options.limit` ends the reading inside a shard.

    Raises:
        DataError: Streaming was not asked for, no tar shard is named, or one cannot be read.
    """
    urls = expand_shard_urls(place)
    if not options.streaming:
        raise DataError(
            f"{len(urls)} {'shard lies' if len(urls) == 1 else 'shards lie'} behind a URL: {place}",
            where="data.path",
            fix="read them over the network with data.streaming: true (--streaming), which keeps"
            " their images only; or fetch the shards and give their folder",
        )
    paths = [PurePosixPath(unquote(urlsplit(url).path)) for url in urls]
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
        # What is compressed cannot be read from the middle: its images are kept.
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
    """Whether nothing else can be meant, so that reading should say what is wrong with it."""
    if place.is_file():
        return True
    others = [path for path in place.iterdir() if path not in shards]
    return not others or is_lfs_pointer(shards[0])
