"""A model's raw JSON files, from its folder or the hub, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from captune.errors import ModelError
from captune.hub.loading import load_pretrained
from captune.hub.names import is_local
from captune.storage import expand_home, name_kind


def read_json_file(source: str, name: str, *, where: str, revision: str | None = None) -> Any:
    """Return the content of one of a model's JSON files; `None` if the model has no such file.

    Args:
        source: Folder, hub id, or `owner/name@REVISION`.
        name: File name, such as `config.json`.
        where: Recipe key or argument, for errors.
        revision: Hub branch, tag or commit.

    Raises:
        ModelError: The model does not exist, or the file is not JSON.
    """
    pinned = {} if revision is None else {"revision": revision}
    path = load_pretrained(_CachedFile, source, where=where, filename=name, **pinned)
    if path is None:
        return None
    try:
        kind = name_kind(Path(path))
        if kind is not None:
            raise ModelError(
                f"{name_file(source, name)} is {kind}, not a file",
                where=where,
                fix="give a folder that save_pretrained wrote, complete and unchanged",
            )
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{name_file(source, name)} is not JSON: {error}",
            where=where,
            fix="copy the model's file again",
        ) from error


def name_file(source: str, name: str) -> str:
    """Return the name of a model's file for errors: its path, or `owner/name/config.json`."""
    return str(expand_home(source) / name) if is_local(source) else f"{source}/{name}"


class _CachedFile:
    """A loader for `load_pretrained`, and its errors, that fetches one file instead of a model."""

    @staticmethod
    def from_pretrained(name: str, *, filename: str, **settings: Any) -> str | None:
        from transformers.utils import cached_file

        path: str | None = cached_file(
            name, filename, _raise_exceptions_for_missing_entries=False, **settings
        )
        return path
