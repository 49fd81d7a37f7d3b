"""A recipe for publication: without local paths."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

from captune.recipe.schema import Recipe
from captune.storage import expand_home

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_USER = re.compile(r"(?<=://)[^/]*@")


def hide_local_paths(recipe: Recipe) -> Recipe:
    """Return the recipe with only the last part of each absolute path.

    Folder names reveal people and projects. URLs lose their query, which may hold a signature, and
    the name and password before their host.
    Free texts (`generate`, `description`) stay unchanged.
    """
    settings = recipe.model_dump()
    for section in ("data", "model", "train", "evaluate"):
        settings[section] = _hidden(settings[section])
    return Recipe.model_validate(settings)


def base_models(recipe: Recipe) -> tuple[str, ...]:
    """Return the hub ids of the models that the recipe starts from."""
    model = recipe.model
    found = (model.checkpoint, model.encoder, model.decoder)
    # The revision is not part of the id.
    return tuple(name for name in (_hub_id(source) for source in found) if name)


def hub_data_sets(recipe: Recipe) -> tuple[str, ...]:
    """Return the hub id of the recipe's data set, if it has one."""
    name = _hub_id(recipe.data.path.partition(":")[0])
    return (name,) if name else ()


def _hub_id(source: object) -> str | None:
    if not isinstance(source, str) or expand_home(source).exists():
        return None
    name = source.partition("@")[0]
    return name if _HUB_ID.fullmatch(name) and not name.startswith(".") else None


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _hidden(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_hidden(each) for each in value)
    if isinstance(value, str):
        if "://" in value:
            # Signatures and tokens follow the question mark.
            return _USER.sub("", value.partition("?")[0])
        if value.startswith(("/", "~")):
            return Path(value).name or "."
        if PureWindowsPath(value).drive:
            return PureWindowsPath(value).name or "."
    return value
