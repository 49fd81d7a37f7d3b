"""What `prepare` wrote, kept in the cache folder for the next run on unchanged data and settings.

The data counts as unchanged when every file below its folders has the name, size and times that it
had, and none was added. Where the result may depend on anything else (files outside those folders,
images that failed for want of memory), nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import __version__ as pillow_version

from captune import __version__
from captune.data import DataCheck, LoadedData, iter_plain
from captune.errors import CaptuneError
from captune.models import choose_tokenizer
from captune.pipeline.folder_state import digest_files
from captune.pipeline.stage_record import stage_settings
from captune.progress import Say
from captune.recipe import Recipe
from captune.storage import (
    expand_home,
    find_cache_folder,
    list_visible,
    newest_first,
    open_atomic,
    read_json_object,
    remove_folder,
    write_folder,
    write_json,
)
from captune.suggest import format_bytes

_VERSION = 2
_MIN_IMAGES = 1000
"""Fewer images are prepared again faster than the result is worth a copy."""
_MOST_KEPT = 4
_MIN_FREE_SHARE = 4
_FILES = (
    "splits/train.jsonl",
    "splits/val.jsonl",
    "splits/test.jsonl",
    "data_check.json",
    "data_check.html",
    "skipped_images.jsonl",
)
_SUMMARY = "splits.json"
_LASTING = frozenset(
    (
        *("empty", "git_lfs_pointer", "not_an_image", "truncated", "corrupt", "text_bomb"),
        *("too_many_pixels", "aspect", "no_caption", "ambiguous"),
    )
)
"""Reasons of unusable images that follow from the files alone."""


@dataclass(frozen=True, slots=True)
class KeptPreparation:
    """The place of one result of `prepare`, and the state of the data that belongs to it.

    Attributes:
        place: Its folder in the cache folder; it may not exist.
        state: Digest of the data's files.
        roots: The folders that the data is in.
        recipe: The recipe.
    """

    place: Path
    state: str
    roots: tuple[str, ...]
    recipe: Recipe

    @classmethod
    def of(cls, recipe: Recipe) -> KeptPreparation | None:
        """Return the place for a recipe; `None`: its data is not local, or is changing."""
        data = recipe.data
        source = expand_home(data.path)
        if not source.exists():
            return None
        roots = [source if source.is_dir() else source.parent]
        roots += [expand_home(data.image_root)] if data.image_root else []
        lists = [expand_home(name) for name in data.split_files.values()]
        places = [*roots, *lists, *(root / name for root in roots for name in lists)]
        # In a file of captions, an image takes 20 bytes or more: a home folder is not searched.
        most = None if source.is_dir() else 10_000 + source.stat().st_size // 20
        state = digest_files(places, most)
        if state is None:
            return None
        facts = [
            *(_VERSION, __version__, pillow_version, os.getcwd()),  # noqa: PTH109
            stage_settings(recipe, "prepare"),
        ]
        key = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12)
        place = find_cache_folder() / "prepared" / key.hexdigest()
        names = (os.path.join(os.path.abspath(root), "") for root in roots)  # noqa: PTH100, PTH118
        return cls(place, state, tuple(names), recipe)

    def restore(self, folder: Path, *, say: Say) -> bool:
        """Write the kept files into a run's folder; `False`: there are none for this data."""
        try:
            meta = read_json_object(self.place / "meta.json", fix="")
            if meta["state"] != self.state:
                return False
            if meta["tokenizer"] != _describe_tokenizer(self.recipe):
                return False
            for name in _FILES:
                _copy(self.place / name, folder / name, digest=meta["digests"][name])
            summary = read_json_object(self.place / _SUMMARY, fix="")
            if _digest_of(summary) != meta["digests"][_SUMMARY]:
                return False
            lines = [str(line) for line in meta["lines"]]
        except (OSError, CaptuneError, KeyError, TypeError, ValueError):
            return False
        for line in lines:
            say(line)
        say("data and settings are as in an earlier run: its check and splits are used again")
        root = summary["image_root"]
        if root is not None:
            with suppress(ValueError):
                summary["image_root_from_here"] = os.path.relpath(root, folder)
        write_json(folder / _SUMMARY, summary)
        return True

    def keep(
        self,
        folder: Path,
        *,
        loaded: LoadedData,
        check: DataCheck,
        lines: Sequence[str],
        say: Say,
    ) -> None:
        """Keep the files of a run's folder, unless they may depend on more than the data's files.

        Args:
            folder: The run's folder.
            loaded: The data set.
            check: Its check.
            lines: Messages about the data.
            say: Called with a line when they cannot be kept.
        """
        reasons = {image.reason for image in (*loaded.skipped, *check.unreadable)}
        if len(loaded.records) < _MIN_IMAGES or not reasons <= _LASTING:
            return
        if self._has_strangers(loaded):
            return
        try:
            self._write(folder, lines)
        except (OSError, CaptuneError) as error:
            # Without it, only the next run is slower.
            say(f"the check and the splits are not kept for the next run: {_reason(error)}")

    def _has_strangers(self, loaded: LoadedData) -> bool:
        """Return whether an image is outside the data's folders."""
        folders: set[str] = set()
        for record in iter_plain(loaded.records):
            if isinstance(record.source, bytes):
                return True
            file = record.source if isinstance(record.source, str) else record.source.archive
            folders.add(os.path.dirname(file))  # noqa: PTH120
        names = (os.path.join(os.path.abspath(folder), "") for folder in folders)  # noqa: PTH100, PTH118
        return not all(name.startswith(self.roots) for name in names)

    def _write(self, folder: Path, lines: Sequence[str]) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        size = sum((folder / name).stat().st_size for name in _FILES)
        tokenizer = _describe_tokenizer(self.recipe)
        room = shutil.disk_usage(self.place.parent).free
        if tokenizer is None:
            return
        if room < _MIN_FREE_SHARE * size:
            needed = format_bytes(_MIN_FREE_SHARE * size)
            raise OSError(f"less than {needed} are free in {self.place.parent}")
        summary = read_json_object(folder / _SUMMARY, fix="")

        def write(new: Path) -> None:
            digests = {name: _copy(folder / name, new / name) for name in _FILES}
            digests[_SUMMARY] = _digest_of(summary)
            write_json(new / _SUMMARY, summary)
            meta = {
                "state": self.state,
                "tokenizer": tokenizer,
                "digests": digests,
                "lines": list(lines),
            }
            write_json(new / "meta.json", meta)

        write_folder(self.place, write)
        for path in newest_first(list_visible(self.place.parent))[_MOST_KEPT:]:
            remove_folder(path)


def _describe_tokenizer(recipe: Recipe) -> str | None:
    """Return a digest of the tokenizer; empty: one is trained; `None`: it cannot be determined."""
    model = recipe.model
    if not (model.tokenizer or model.decoder or model.checkpoint):
        return ""
    tokenizer = choose_tokenizer(model, ())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    facts = f"{backend.to_str()}\n{sorted(tokenizer.special_tokens_map.items(), key=str)}"
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def _reason(error: OSError | CaptuneError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else error.what


def _copy(source: Path, target: Path, *, digest: str | None = None) -> str:
    """Copy a file, and return the digest of its content.

    Raises:
        ValueError: It has another digest.
        OSError: It cannot be read.
        OutputError: It cannot be written.
    """
    found = hashlib.blake2b(digest_size=16)
    with source.open("rb") as old, open_atomic(target) as new:
        while piece := old.read(1 << 22):
            found.update(piece)
            new.write(piece)
        if digest is not None and found.hexdigest() != digest:
            raise ValueError(f"{source} is damaged")
    return found.hexdigest()


def _digest_of(value: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()
