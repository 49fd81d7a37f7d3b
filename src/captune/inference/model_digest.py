"""The digest of a local model, which identifies it wherever its folder is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from captune.hub import model_folder
from captune.storage import expand_home, naming

_MODEL_FILES = (".json", ".safetensors", ".bin", ".txt", ".model", ".pt", ".onnx", ".data")
_MAX_FULL_READ = 4_000_000
# Training changes all numbers of a weight, but not all weights: with merged adapters 6 % of BLIP.
# So each weight of more than 256 kB is sampled. Of a gigabyte, 16 MB are read.
_STRIDE, _BLOCK = 262_144, 4_096


def digest_model(source: str) -> str | None:
    """Return a hash of a local model's weights and settings; `None` for a hub id.

    Files over 4 MB are sampled: the hash covers their size, 4 kB of every 256 kB, and their end.
    """
    folder = model_folder(expand_home(source))
    if not folder.is_dir():
        return None
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(p for p in folder.iterdir() if p.suffix in _MODEL_FILES and p.is_file()):
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with naming(path), path.open("rb") as file:
        if size <= _MAX_FULL_READ:
            yield file.read()
            return
        for start in (*range(0, size - _BLOCK, _STRIDE), size - _BLOCK):
            file.seek(start)
            yield file.read(_BLOCK)
