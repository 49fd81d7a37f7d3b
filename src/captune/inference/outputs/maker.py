"""What made a file of captions: model and decoding, kept in `.captune/NAME.made_by` beside it.

The lines of the file are a contract with other programs and have no place for it. A file is only
added to by the model and decoding that it holds captions of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from captune.storage import STATE_FOLDER, write_json

Maker = Mapping[str, object]
"""`model` and `revision` as they were named, `digest` of a local model's files, `decoding`."""

_MODEL_FILES = (".json", ".safetensors", ".bin", ".txt", ".model", ".pt")
# A model of gigabytes is told from another by less: training changes all weights.
_WHOLE = 4_000_000
_NUM_BLOCKS, _BLOCK = 32, 65_536


def read_maker(path: Path) -> Maker | None:
    """Read what made the file; `None` where no record of it can be read."""
    try:
        made_by = json.loads(_place(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made_by if isinstance(made_by, dict) else None


def write_maker(path: Path, made_by: Maker) -> None:
    """Record what makes the file.

    Raises:
        OutputError: The place cannot be written.
    """
    write_json(_place(path), made_by)


def differences(before: Maker, now: Maker) -> list[str]:
    """Name what differs, `setting: old -> new`; what only one of them knows does not count."""
    old, new = dict(_settings(before)), dict(_settings(now))
    # Files tell models apart; the same ones may have been moved, or named otherwise.
    if old.get("digest") and new.get("digest"):
        same_files = old["digest"] == new["digest"]
        names = [settings.pop("model", None) for settings in (old, new)]
        for settings in (old, new):
            settings.pop("revision", None)
        if not same_files:
            old["model"], new["model"] = names
            if names[0] == names[1]:
                old["model"], new["model"] = f"{names[0]} as it was then", "other weights now"
    shared = (name for name in new if name in old and name != "digest")
    return [f"{name}: {old[name]} -> {new[name]}" for name in shared if old[name] != new[name]]


def digest_model(source: str) -> str | None:
    """Return a hash of a local model's weights and settings; `None` for a hub id.

    Large files are sampled: their size, and 32 blocks spread over them.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        return None
    if not (folder / "config.json").is_file() and (folder / "model").is_dir():
        folder = folder / "model"
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(p for p in folder.iterdir() if p.suffix in _MODEL_FILES and p.is_file()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            yield file.read()
            return
        for number in range(_NUM_BLOCKS):
            file.seek(number * (size - _BLOCK) // (_NUM_BLOCKS - 1))
            yield file.read(_BLOCK)


def _settings(made_by: Maker) -> Iterator[tuple[str, object]]:
    for name, value in made_by.items():
        if name == "decoding" and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value


def _place(path: Path) -> Path:
    return path.parent / STATE_FOLDER / f"{path.name}.made_by"
