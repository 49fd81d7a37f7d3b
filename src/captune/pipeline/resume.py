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
from captune.recipe import Recipe, hide_local_paths
from captune.storage import read_json_object, write_json

_FIXED = (
    "seed",
    "model",
    "data.max_captions",
    "data.max_caption_tokens",
    "data.lower_case",
    "data.views",
    "train.global_batch_size",
)
"""Without these the place in the plan, or the weights, belong to another training."""
_STEERING = (
    "epochs",
    "max_steps",
    "learning_rate",
    "vision_lr_scale",
    "weight_decay",
    "vision_weight_decay",
    "beta1",
    "beta2",
    "schedule",
    "warmup_steps",
    "warmup_fraction",
    "min_lr_ratio",
    "max_grad_norm",
    "label_smoothing",
    "word_dropout",
    "ema_decay",
    "validate_every",
    "validate_images",
    "validate_beams",
    "best_metric",
    "patience",
)
"""Settings of `train` that may change on the way, and then neither recipe describes the result."""
_IMAGES = "the images of train and val"

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
    changed = [key for key in now if key in began and began[key] != now[key]]
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
    keys = (*_FIXED, *(f"train.{name}" for name in _STEERING))
    return {_IMAGES: _digest(folder), **{key: _find(settings, key) for key in keys}}


def _digest(folder: Path) -> str:
    """Of images and captions in their order, wherever the files lie."""
    records = (r for r in load_splits(folder) if r.split in ("train", "val"))
    lines = "\n".join(json.dumps([r.split, r.image_id, *r.captions]) for r in records)
    return hashlib.blake2b(lines.encode(), digest_size=12).hexdigest()


def _find(settings: Mapping[str, object], key: str) -> object:
    section, _, name = key.partition(".")
    value = settings[section]
    return value[name] if name and isinstance(value, dict) else value


def _tell(key: str, began: Inputs, now: Inputs) -> str:
    """The setting and both its values; of a section those that differ."""
    if key == _IMAGES:
        return key
    old, new = began[key], now[key]
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(
            f"{key}.{name} {_word(old.get(name))} -> {_word(value)}"
            for name, value in new.items()
            if old.get(name) != value
        )
    return f"{key} {_word(old)} -> {_word(new)}"


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
