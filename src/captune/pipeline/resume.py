"""Whether an interrupted training may go on: with the data, model and batches it began with.

A checkpoint holds weights and a place in a plan of steps. On other images or in other batches that
place means nothing, and the weights would be of two trainings while the report tells of one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from captune.data import load_splits
from captune.errors import OutputError
from captune.recipe import Recipe, hide_local_paths, setting_changes
from captune.storage import read_json_object, write_json

_CHANGES = setting_changes(Recipe)
_FIXED = tuple(key for key, change in _CHANGES.items() if change == "retrain")
"""Without these the place in the plan, or the weights, belong to another training."""
_STEERING = tuple(key for key, change in _CHANGES.items() if change == "warn")
"""These may change on the way, and then neither recipe describes the result."""
_IMAGES = "the images of train and val"
_ABSENT = object()

Inputs = Mapping[str, object]


def note_inputs(recipe: Recipe, folder: Path) -> None:
    """Writes what a training begins with beside its checkpoints."""
    write_json(_place(folder), _inputs(recipe, folder))


def check_resumed(recipe: Recipe, folder: Path) -> list[str]:
    """Compares what an interrupted training began with to what it would go on with.

    Returns:
        A warning, or nothing: settings that may change on the way.

    Raises:
        OutputError: Data, model or batches are others now.
    """
    if not _place(folder).exists():
        # An older captune left no note.
        return []
    fix = "start again with --force; or delete it, and --resume trusts that nothing has changed"
    began: Inputs = read_json_object(_place(folder), fix=fix)
    now: Inputs = json.loads(json.dumps(_inputs(recipe, folder)))
    began = {key: _find(began, key) for key in now}
    # An older captune noted fewer settings.
    changed = [key for key in now if began[key] not in (_ABSENT, now[key])]
    fixed = [key for key in changed if key == _IMAGES or key in _FIXED]
    if fixed:
        raise OutputError(
            "the training that was interrupted here began with other settings or data:"
            f" {', '.join(_tell(key, began, now) for key in fixed)}",
            where=str(folder / "checkpoints"),
            fix="resume it with those, start again with --force, or choose another --out",
        )
    if not changed:
        return []
    told = ", ".join(_tell(key, began, now) for key in changed)
    return [f"warning: the training goes on with other settings than it began with: {told}"]


def _place(folder: Path) -> Path:
    return folder / "checkpoints" / "began_with.json"


def _inputs(recipe: Recipe, folder: Path) -> dict[str, object]:
    # A folder that was moved with the run holds the same model.
    settings = hide_local_paths(recipe).model_dump(mode="json")
    keys = (*_FIXED, *_STEERING)
    return {_IMAGES: _digest(folder), **{key: _find(settings, key) for key in keys}}


def _digest(folder: Path) -> str:
    """Of images and captions in their order, wherever the files lie."""
    records = (r for r in load_splits(folder) if r.split in ("train", "val"))
    lines = "\n".join(json.dumps([r.split, r.image_id, *r.captions]) for r in records)
    return hashlib.blake2b(lines.encode(), digest_size=12).hexdigest()


def _find(settings: Mapping[str, object], key: str) -> object:
    """The value of a dotted key, in sections or noted by its whole name."""
    if key in settings:
        return settings[key]
    section, dot, rest = key.partition(".")
    inner = settings.get(section)
    return _find(inner, rest) if dot and isinstance(inner, Mapping) else _ABSENT


def _tell(key: str, began: Inputs, now: Inputs) -> str:
    """The setting and both its values."""
    return key if key == _IMAGES else f"{key} {_word(began[key])} -> {_word(now[key])}"


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
