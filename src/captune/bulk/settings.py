"""What a user chooses for a bulk run, checked before any work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from captune.bulk.feed.planner import FeedSettings
from captune.bulk.formats import (
    COLLECTED_NAMES,
    PER_IMAGE_NAMES,
    CollectedName,
    PerImageName,
)
from captune.bulk.formats.interface import ADDING, Existing
from captune.bulk.formats.text_files import SidecarName
from captune.bulk.wording import Wording
from captune.data import DecodeMode
from captune.errors import OutputError
from captune.net import check_storage, is_object_url
from captune.recipe import GenerateConfig
from captune.storage import find_cache_folder, refuse_special, resolve_link
from captune.suggest import did_you_mean

if TYPE_CHECKING:
    from captune.inference import UrlRules

OutputName = Literal["stdout"] | PerImageName | CollectedName
_ENDINGS: dict[str, CollectedName] = {
    f".{name}": name for name in COLLECTED_NAMES if name != "webdataset"
}


def read_output_names(names: Iterable[str]) -> tuple[OutputName, ...]:
    """Return the output formats that `--to` names, each once.

    Raises:
        OutputError: A format does not exist.
    """
    known: dict[str, OutputName] = {"stdout": "stdout"}
    known.update({name: name for name in PER_IMAGE_NAMES})
    known.update({name: name for name in COLLECTED_NAMES})
    for name in names:
        if name not in known:
            raise OutputError(
                f"--to has no format {name!r}{did_you_mean(name, known)}",
                where="--to",
                fix=f"use one or more of: {', '.join(known)}",
            )
    return tuple(dict.fromkeys(known[name] for name in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkSettings:
    """How images are found, captioned and written.

    Attributes:
        to: The output formats; empty: by the ending of `out`, else the screen.
        out: A file; a folder for tar shards or several collected formats; or either in object
            storage.
        out_is_folder: Whether `out` is a folder even for one format, though it may not exist yet.
        existing: What happens to an image that already has a caption; `None`: it is skipped, and
            a run with another model, decoding or wording is refused.
        wording: How a caption is changed before it is written.
        decoding: Decoding settings; unset ones come from the model.
        naming: How files beside images are named.
        batch_size: Images per batch; `None`: by the free memory.
        decode: How images are decoded: in child processes or in this one.
        feed: Which images become tasks.
        follow_links: Follow links that lead outside a folder.
        url_rules: Which URLs may be opened; `None`: none.
    """

    to: tuple[OutputName, ...] = ()
    out: Path | None = None
    out_is_folder: bool = False
    existing: Existing | None = None
    wording: Wording = field(default_factory=Wording)
    decoding: GenerateConfig = field(default_factory=GenerateConfig)
    naming: SidecarName = "stem"
    batch_size: int | None = None
    decode: DecodeMode = "isolated"
    feed: FeedSettings = field(default_factory=FeedSettings)
    follow_links: bool = False
    url_rules: UrlRules | None = None

    @property
    def local_out(self) -> Path | None:
        """Where `out` is written on this machine: for object storage, a folder of the cache."""
        return None if self.out is None else local_place(self.out)


def ends_as_folder(text: str) -> bool:
    """Return whether an output is named as a folder: `NEW/`."""
    return text.endswith(("/", os.sep))


def local_place(out: Path) -> Path:
    """Return an output, or where one in object storage is written before it is copied there.

    Raises:
        OutputError: It names a bucket, but nothing in it.
    """
    if not is_object_url(out.as_posix()):
        return out
    url = object_url(out)
    digest = hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return find_cache_folder() / "object-storage" / digest / url.rpartition("/")[2]


def follow_link(out: Path) -> Path:
    """Return the file or folder that an output leads to: a link stays, and its target is written.

    Journal, lock and unfinished part are then beside the target, whichever name leads to it.

    Raises:
        OutputError: It is a link that leads to itself.
    """
    try:
        return resolve_link(out)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{out} is a link that points nowhere",
            where="--out",
            fix="delete it, or choose another --out",
        ) from error


def object_url(out: Path) -> str:
    """Return the URL that a path was made of, which lost a slash.

    Raises:
        OutputError: It names a bucket, but nothing in it.
    """
    scheme, _, path = out.as_posix().partition(":")
    path = path.strip("/")
    if "/" not in path:
        raise OutputError(
            f"{scheme}://{path} is a bucket", where="--out", fix="name a file or folder in it"
        )
    return f"{scheme}://{path}"


def shown_place(path: Path, settings: BulkSettings) -> str:
    """Return a collected output as the user knows it: by its URL, if it is in object storage."""
    out = settings.out
    if out is None or not is_object_url(out.as_posix()):
        return str(path)
    inside = path.relative_to(local_place(out).parent).as_posix()
    return f"{object_url(out).rpartition('/')[0]}/{inside}"


@dataclass(frozen=True, slots=True)
class ChosenOutputs:
    """Where captions go.

    Attributes:
        per_image: The formats of one file per image.
        collected: The collected formats, each with its file or folder.
        stream: The format on the screen; `None`: no captions go there.
    """

    per_image: tuple[PerImageName, ...] = ()
    collected: tuple[tuple[CollectedName, Path], ...] = ()
    stream: Literal["stdout", "jsonl", "csv"] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs in files."""
        return (*self.per_image, *(name for name, _ in self.collected))


def choose_outputs(settings: BulkSettings) -> ChosenOutputs:
    """Return the outputs that `to` and `out` name.

    Raises:
        OutputError: They do not fit together, or `out` cannot be used.
    """
    names = tuple(dict.fromkeys(settings.to)) or (_by_ending(settings.out),)
    per_image = tuple(name for name in PER_IMAGE_NAMES if name in names)
    collected = tuple(name for name in COLLECTED_NAMES if name in names)
    stream: Literal["stdout", "jsonl", "csv"] | None = "stdout" if "stdout" in names else None
    out = settings.local_out
    if settings.out is not None and out != settings.out:
        check_storage(object_url(settings.out))
    if out is not None and not collected:
        raise OutputError(
            f"--to {' --to '.join(names)} writes no single file, so --out {out} cannot be used"
            " with it",
            fix="--to jsonl or --to csv",
        )
    if settings.existing in ADDING and collected:
        raise OutputError(
            f"--existing {settings.existing} adds to the text of a file per image;"
            f" {collected[0]} has one row per image",
            fix="use --existing skip or overwrite, or --to txt, caption, xmp or metadata",
        )
    if out is None and collected:
        streams: list[Literal["stdout", "jsonl", "csv"]] = [
            name for name in ("jsonl", "csv") if name in collected
        ]
        if len(collected) > 1 or stream or not streams:
            raise OutputError(
                f"--to {' --to '.join(collected)} needs a file or a folder",
                fix="add --out FILE, or --out FOLDER for webdataset or several formats",
            )
        return ChosenOutputs(per_image, (), streams[0])
    places = () if out is None else _places(collected, out, settings)
    return ChosenOutputs(per_image, places, stream)


def choose_decode(mode: DecodeMode, *, allow_truncated: bool) -> DecodeMode:
    """Return how images are decoded: as `mode` says, or leniently if truncated ones are allowed.

    Raises:
        OutputError: Truncated images are decoded only in child processes.
    """
    if allow_truncated and mode == "inline":
        raise OutputError(
            "truncated images are decoded only in child processes",
            where="--decode inline --allow-truncated",
            fix="give one of them",
        )
    return "lenient" if allow_truncated else mode


def _places(
    collected: tuple[CollectedName, ...], out: Path, settings: BulkSettings
) -> tuple[tuple[CollectedName, Path], ...]:
    is_folder = settings.out_is_folder or out.is_dir()
    if len(collected) == 1 and (collected[0] == "webdataset" or not is_folder):
        refuse_special(out)
        files = [(collected[0], out)]
    else:
        files = [(name, out / f"captions.{name}") for name in collected]
    shard = settings.feed.share
    mark = "" if shard is None else f"-{shard.index:05}-of-{shard.count:05}"
    return tuple(
        (name, follow_link(path.with_name(path.stem + mark + path.suffix) if mark else path))
        for name, path in files
    )


def _by_ending(out: Path | None) -> OutputName:
    return "stdout" if out is None else name_of_ending(out)


def name_of_ending(out: Path) -> CollectedName:
    """Return the format that the ending of a file names.

    Raises:
        OutputError: It names none.
    """
    if out.suffix.lower() not in _ENDINGS:
        raise OutputError(
            f"the ending of --out {out} names no format", fix="add --to jsonl or --to csv"
        )
    return _ENDINGS[out.suffix.lower()]
