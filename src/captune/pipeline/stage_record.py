"""Which stages a run has, what each depends on, and which of them are done.

A stage is done when stages.json holds the hash of its present inputs (its settings, the files that
they name, and the hashes of the stages it builds on) and its files still exist. A changed input
makes its stage, and all after it, run again. What is in subfolders of the data has a digest of its
own: older versions did not look there, and their finished stages stay finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from captune.errors import CaptuneError, DataError
from captune.hub import is_local
from captune.pipeline.folder_state import RECORD, digest_below, list_entries
from captune.recipe import Recipe, setting_changes
from captune.storage import expand_home, has_regular, read_json_object, write_json
from captune.suggest import did_you_mean

STAGES = ("prepare", "baseline", "train", "evaluate", "report")


@dataclass(frozen=True, slots=True)
class _Stage:
    """Inputs and outputs of a stage: keys of the recipe, and names in the run's folder.

    Attributes:
        settings: Sections and keys that its results depend on.
        files: Keys that may name local files or folders.
        builds_on: Stages whose results it reads.
        outputs: The files and folders it writes.
        lasting: The outputs that a finished stage must have; others may be deleted to save space.
    """

    settings: tuple[str, ...]
    files: tuple[str, ...]
    builds_on: tuple[str, ...]
    outputs: tuple[str, ...]
    lasting: tuple[str, ...]


_DATA = ("data.path", "data.image_root", "data.split_files")
_MODELS = ("model.checkpoint", "model.encoder", "model.decoder", "model.tokenizer")


_TABLE = {
    "prepare": _Stage(
        # The check counts tokens, so it depends on the choice of the tokenizer.
        (
            "data",
            "seed",
            "model.tokenizer",
            "model.decoder",
            "model.checkpoint",
            "model.new_tokenizer",
            "model.revision",
        ),
        _DATA,
        (),
        ("splits.json", "splits", "data_check.json", "data_check.html", "skipped_images.jsonl"),
        ("splits.json", "splits"),
    ),
    "baseline": _Stage(
        (
            "model",
            "generate",
            "evaluate.baseline",
            "evaluate.split",
            "evaluate.max_images",
            "seed",
        ),
        _MODELS,
        ("prepare",),
        ("predictions/before.jsonl",),
        (),
    ),
    "train": _Stage(
        # Not `generate`: other beams for the test captions do not require training again.
        ("model", "train", "seed"),
        _MODELS,
        ("prepare",),
        ("checkpoints", "model", "log.jsonl", "train_metrics.json", "tensorboard"),
        ("model/config.json", "train_metrics.json"),
    ),
    "evaluate": _Stage(
        ("generate", "evaluate"),
        ("evaluate.clip_model", "evaluate.pac_checkpoint", "evaluate.bert_model"),
        ("baseline", "train"),
        (
            "predictions/after.jsonl",
            "scores.json",
            "scores_per_image.jsonl",
            "results_before_training.csv",
            "results_after_training.csv",
        ),
        ("predictions/after.jsonl", "scores.json", "results_after_training.csv"),
    ),
    "report": _Stage(
        ("name", "description", "license", "language"),
        (),
        ("evaluate",),
        ("plots", "report.html", "report_files"),
        ("plots", "report.html"),
    ),
}


_WITHOUT_EFFECT = frozenset(
    key for key, change in setting_changes(Recipe).items() if change == "nothing"
)
"""Settings that affect no result, so that a change reruns nothing."""


def select_stages(only: Sequence[str], start_from: str | None) -> tuple[str, ...]:
    """Return the requested stages, in order.

    Raises:
        CaptuneError: An unknown stage.
    """
    # One name is a sequence of letters too.
    only = (only,) if isinstance(only, str) else only
    for name in (*only, *([start_from] if start_from else [])):
        if name not in STAGES:
            raise CaptuneError(
                f"unknown stage {name!r}{did_you_mean(name, STAGES)}",
                where="--only / --from",
                fix=f"use one of: {', '.join(STAGES)}",
            )
    chosen = STAGES[STAGES.index(start_from) :] if start_from else STAGES
    return tuple(name for name in chosen if not only or name in only)


_FIX = "delete it: all stages then run again, and their earlier files move to previous/"


class StageBook:
    """stages.json of one run folder."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self._path = folder / RECORD
        self._folder = folder
        self._recipe = recipe
        self._done: dict[str, dict[str, object]] = {}
        # A link that leads nowhere, such as to a disk that is gone, is no reason to start again.
        if has_regular(self._path, fix=_FIX):
            self._done = _read_done(self._path)
        # Once, before any work: a stage does not see data that is edited while it runs.
        self._hashes: dict[str, str] = {}
        for name in STAGES:
            self._hashes[name] = self._input_hash(name)
        self._below = self._digest_below()

    def _input_hash(self, name: str) -> str:
        """Hash the stage's settings, the files they name, and the hashes it builds on."""
        stage = _TABLE[name]
        parts = [name, json.dumps(stage_settings(self._recipe, name), sort_keys=True)]
        parts += [self._hashes[other] for other in stage.builds_on]
        for key in stage.files:
            if places := _local_places(_setting(self._recipe, key)):
                parts.append("\n".join(list_entries(p, without=self._folder) for p in places))
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=12).hexdigest()

    def _digest_below(self) -> str:
        """Return a digest of the files in subfolders of the data, on which all stages build."""
        places = [p for key in _DATA for p in _local_places(_setting(self._recipe, key))]
        return "".join(digest_below(place, without=self._folder) for place in places)

    def is_done(self, name: str) -> bool:
        """Return whether the stage ran on exactly these inputs, and its files exist."""
        lasting = _TABLE[name].lasting
        if name == "baseline" and self._recipe.evaluate.baseline:
            lasting = _TABLE[name].outputs
        is_there = all((self._folder / output).exists() for output in lasting)
        return is_there and self._has_same_inputs(name)

    def ran_before(self, name: str) -> bool:
        """Return whether the stage ever finished in this folder, on any inputs."""
        return name in self._done

    def existing_outputs(self, name: str) -> list[Path]:
        """Return the existing files and folders of the stage."""
        paths = (self._folder / output for output in _TABLE[name].outputs)
        return [path for path in paths if path.exists()]

    def changed_inputs(self, name: str) -> list[str]:
        """Return the stages that this one builds on and that ran here on other inputs."""
        return [
            other
            for other in _TABLE[name].builds_on
            if self.ran_before(other) and not self._has_same_inputs(other)
        ]

    def missing_inputs(self, name: str) -> list[str]:
        """Return the stages that this one builds on and that never ran here."""
        return [n for n in _TABLE[name].builds_on if not self.ran_before(n)]

    def depends_on_due(self, name: str, due: Sequence[str]) -> bool:
        """Return whether this stage builds on one that runs again.

        A retrained model differs slightly from the scored one; splits depend on the seed alone.
        """
        return any(other in due for other in _TABLE[name].builds_on if other != "prepare")

    def clear(self, name: str) -> Path | None:
        """Move the files of an earlier run of the stage to previous/; nothing is lost.

        Returns:
            The new folder; `None` if there were no files.
        """
        outputs = self.existing_outputs(name)
        self._done.pop(name, None)
        self._save()
        if not outputs:
            return None
        place = self._free_place(name)
        for path in outputs:
            target = place / path.relative_to(self._folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        return place

    def discard(self, name: str) -> None:
        """Delete the files of an earlier run of the stage: `--force`."""
        place = self.clear(name)
        if place is not None:
            shutil.rmtree(place)

    def mark_done(self, name: str, seconds: float) -> None:
        """Record that the stage has finished, and how long it took."""
        self._done[name] = {
            "input_hash": self._hashes[name],
            "subfolders": self._below,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(seconds, 2),
        }
        self._save()

    def seconds(self, name: str) -> float:
        """Return how long the stage took; 0 if it has not run."""
        value = self._done.get(name, {}).get("seconds", 0.0)
        return float(str(value))

    def _has_same_inputs(self, name: str) -> bool:
        record = self._done.get(name, {})
        is_same = record.get("input_hash") == self._hashes[name]
        return is_same and record.get("subfolders") in (None, self._below)

    def _save(self) -> None:
        write_json(self._path, self._done)

    def _free_place(self, name: str) -> Path:
        number = 1
        while (self._folder / "previous" / f"{name}-{number}").exists():
            number += 1
        return self._folder / "previous" / f"{name}-{number}"


def _read_done(path: Path) -> dict[str, dict[str, object]]:
    done = read_json_object(path, fix=_FIX)
    for name, entry in done.items():
        is_whole = isinstance(entry, dict) and isinstance(entry.get("input_hash"), str)
        # A truth value is a whole number too.
        if not is_whole or type(entry.get("seconds")) not in (int, float):
            raise DataError(
                f"the record of stage {name} is damaged: {str(entry)[:80]!r}",
                where=str(path),
                fix=_FIX,
            )
    return done


def stage_settings(recipe: Recipe, name: str) -> dict[str, object]:
    """Return the settings that a stage's results depend on."""
    return {key: _setting(recipe, key) for key in _TABLE[name].settings}


def _setting(recipe: Recipe, key: str) -> object:
    """Return a section without settings that affect no result, or one setting of a section."""
    section, _, name = key.partition(".")
    value = recipe.model_dump(mode="json")[section]
    if name:
        return value[name]
    if not isinstance(value, dict):
        return value
    return {k: v for k, v in value.items() if f"{section}.{k}" not in _WITHOUT_EFFECT}


def _local_places(setting: object) -> list[Path]:
    """Return the existing files and folders that a setting names: a path, or a table of paths."""
    if isinstance(setting, dict):
        return [place for value in setting.values() for place in _local_places(value)]
    if not isinstance(setting, str) or not is_local(setting):
        return []
    path = expand_home(setting)
    return [path] if path.exists() else []
