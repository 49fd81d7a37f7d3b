"""The model and decoding of a file of captions, recorded in `.captune/NAME.made_by` beside it.

Other programs rely on the lines of the file, so the record is separate. Captions are only added to
a file by the same model and decoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from captune.storage import STATE_FOLDER, write_json

Maker = Mapping[str, object]
"""`model` and `revision` as the user named them, `digest` of a local model's files, `decoding`."""

_MODEL_FILES = (".json", ".safetensors", ".bin", ".txt", ".model", ".pt", ".onnx", ".data")
# Samples distinguish large models: training changes all weights.
_MAX_FULL_READ = 4_000_000
_NUM_BLOCKS, _BLOCK = 32, 65_536


def read_maker(path: Path) -> Maker | None:
    """Return what made the file; `None` if there is no readable record."""
    try:
        made_by = json.loads(_place(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made_by if isinstance(made_by, dict) else None


def write_maker(path: Path, made_by: Maker) -> None:
    """Record what makes the file.

    Raises:
        OutputError: The record cannot be written.
    """
    write_json(_place(path), made_by)


def differences(before: Maker, now: Maker) -> list[str]:
    """Return the differences, `setting: old -> new`; settings that only one has do not count."""
    old, new = dict(_settings(before)), dict(_settings(now))
    # The files identify a model: it may have been moved or renamed.
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


def digest_model(source: str) -> str | None:
    """Return a hash of a local model's weights and settings; `None` for a hub id.

    Large files are sampled: their size, and 32 blocks spread over the file.
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
        if size <= _MAX_FULL_READ:
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
