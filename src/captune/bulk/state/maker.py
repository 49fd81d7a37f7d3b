"""What makes captions: model, decoding and wording; no run silently mixes two makers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from captune.bulk.journal.database import Database
from captune.bulk.journal.runs import last_run, settings_of
from captune.bulk.settings import ChosenOutputs
from captune.errors import OutputError
from captune.storage import STATE_FOLDER

Maker = Mapping[str, object]
"""`model` and `revision` as the user named them, `digest` of a local model's files, `decoding`."""

_NESTED = ("decoding", "wording")


def differences(before: Maker, now: Maker) -> list[str]:
    """Return the differences, `setting: old -> new`; settings that only one has are ignored."""
    old, new = dict(_settings(before)), dict(_settings(now))
    # A model is identified by its files, because it may have been moved or renamed.
    if old.get("digest") and new.get("digest"):
        same_files = old["digest"] == new["digest"]
        names = [settings.pop("model", None) for settings in (old, new)]
        for settings in (old, new):
            settings.pop("revision", None)
        if not same_files:
            old["model"], new["model"] = names
            if names[0] == names[1]:
                old["model"], new["model"] = (
                    f"{names[0]} with earlier weights",
                    "other weights now",
                )
    shared = (name for name in new if name in old and name != "digest")
    return [f"{name}: {old[name]} -> {new[name]}" for name in shared if old[name] != new[name]]


def identity(made_by: Maker) -> Maker:
    """Return what identifies the maker: a local model by its files, wherever they are."""
    if not made_by.get("digest"):
        return made_by
    return {name: value for name, value in made_by.items() if name not in ("model", "revision")}


def refuse_other_makers(
    database: Database, now: Maker, *, outputs: ChosenOutputs, folder: Path
) -> dict[str, bool]:
    """Refuse to add to captions of another model, decoding or wording.

    Args:
        database: The journal.
        now: What makes captions now.
        outputs: The outputs.
        folder: The folder of outputs with one file per image.

    Returns:
        For each output, whether the maker of its existing captions is known.

    Raises:
        OutputError: Something else made them.
    """
    places = dict.fromkeys(outputs.per_image, folder) | dict(outputs.collected)
    return {
        form: _refuse_other_maker(database, now, place=place, form=form)
        for form, place in places.items()
    }


def _refuse_other_maker(database: Database, now: Maker, *, place: Path, form: str) -> bool:
    run = last_run(database, form)
    before = read_old_maker(place) if run is None else settings_of(database, run.recipe)
    others = [] if before is None else differences(before, now)
    if others:
        raise OutputError(
            f"{place} holds captions of another model or decoding ({', '.join(others)})",
            where="--out" if place.suffix else "",
            fix="use the same ones to add to it, --existing skip to keep those captions,"
            " --force to caption everything again, or another --out",
        )
    return before is not None


def old_record(path: Path) -> Path:
    """Return where the maker of a file of captions without a journal is recorded."""
    return path.parent / STATE_FOLDER / f"{path.name}.made_by"


def read_old_maker(path: Path) -> Maker | None:
    """Return what captune 0.1, or a merge, recorded beside a file of captions; `None`: nothing."""
    try:
        made_by = json.loads(old_record(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return made_by if isinstance(made_by, dict) else None


def _settings(made_by: Maker) -> Iterator[tuple[str, object]]:
    for name, value in made_by.items():
        if name in _NESTED and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value
