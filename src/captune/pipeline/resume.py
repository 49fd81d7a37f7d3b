"""Whether an interrupted training may resume: only with its data, model and batches.

A checkpoint holds weights and a position in a plan of steps. With other images or batches that
position is meaningless, and the report would describe one training where there were two.
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
"""If these change, the position in the plan or the weights belong to another training."""
_CHANGEABLE = tuple(key for key, change in _CHANGES.items() if change == "warn")
"""These may change, but then neither recipe fully describes the result."""
_IMAGES = "the images of train and val"
_ABSENT = object()

Inputs = Mapping[str, object]


def note_inputs(recipe: Recipe, folder: Path) -> None:
    """Save the inputs of a training beside its checkpoints."""
    write_json(_place(folder), _inputs(recipe, folder))


def refuse_other_settings(recipe: Recipe, folder: Path) -> None:
    """Refuse settings with which an interrupted training cannot resume, before anything is written.

    Raises:
        OutputError: The model or the batches have changed.
    """
    _compare(folder, _settings(recipe))


def check_resumed(recipe: Recipe, folder: Path) -> list[str]:
    """Compare the inputs of an interrupted training with the present ones.

    Returns:
        A warning if settings changed that may change; else nothing.

    Raises:
        OutputError: Data, model or batches have changed.
    """
    return _compare(folder, _inputs(recipe, folder))


def _compare(folder: Path, inputs: Inputs) -> list[str]:
    """Return a warning about changed inputs; raise if the training cannot resume with them."""
    if not _place(folder).exists():
        # Older versions of captune saved no inputs.
        return []
    fix = "start again with --force; or delete it: --resume then assumes that nothing has changed"
    began: Inputs = read_json_object(_place(folder), fix=fix)
    now: Inputs = json.loads(json.dumps(inputs))
    began = {key: _find(began, key) for key in now}
    # Older versions of captune saved fewer settings.
    changed = [key for key in now if began[key] not in (_ABSENT, now[key])]
    fixed = [key for key in changed if key == _IMAGES or key in _FIXED]
    if fixed:
        raise OutputError(
            "the interrupted training here began with other settings or data:"
            f" {', '.join(_describe(key, began, now) for key in fixed)}",
            where=str(folder / "checkpoints"),
            fix="resume it with those, start again with --force, or choose another --out",
        )
    if not changed:
        return []
    listed = ", ".join(_describe(key, began, now) for key in changed)
    return [f"warning: the training resumes with other settings than it began with: {listed}"]


def _place(folder: Path) -> Path:
    return folder / "checkpoints" / "began_with.json"


def _inputs(recipe: Recipe, folder: Path) -> dict[str, object]:
    return {_IMAGES: _digest(folder), **_settings(recipe)}


def _settings(recipe: Recipe) -> dict[str, object]:
    # A folder moved together with the run holds the same model.
    settings = hide_local_paths(recipe).model_dump(mode="json")
    keys = (*_FIXED, *_CHANGEABLE)
    return {key: _find(settings, key) for key in keys}


def _digest(folder: Path) -> str:
    """Hash the ids and captions of the images in order; the location of files does not matter."""
    digest, between = hashlib.blake2b(digest_size=12), ""
    for record in load_splits(folder):
        if record.split in ("train", "val"):
            line = json.dumps([record.split, record.image_id, *record.captions])
            digest.update(f"{between}{line}".encode())
            between = "\n"
    return digest.hexdigest()


def _find(settings: Mapping[str, object], key: str) -> object:
    """Return the value of a dotted key, found in sections or under its full name."""
    if key in settings:
        return settings[key]
    section, dot, rest = key.partition(".")
    inner = settings.get(section)
    return _find(inner, rest) if dot and isinstance(inner, Mapping) else _ABSENT


def _describe(key: str, began: Inputs, now: Inputs) -> str:
    """Return the setting with its old and new value."""
    return key if key == _IMAGES else f"{key} {_word(began[key])} -> {_word(now[key])}"


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
