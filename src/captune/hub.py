"""Reading from the Hugging Face hub and from local folders, with errors that say what to do.

Local first: a path that exists is never looked up on the hub.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from captune.errors import ModelError

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*")


def load_pretrained(loader: Any, source: str, *, where: str, **settings: Any) -> Any:
    """`loader.from_pretrained(source)`, its failures told in the user's terms.

    Args:
        loader: A transformers class with `from_pretrained`.
        source: Local folder or hub id.
        where: Recipe key or argument that named the source.
        **settings: For that one call.

    Raises:
        ModelError: The folder or id does not exist, holds no config or no weights, or does not
            fit the class.
    """
    if _looks_local(source):
        check_model_folder(Path(source), where=where)
    try:
        return loader.from_pretrained(source, **settings)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"cannot load {source!r}: {reason[0]}",
            where=where,
            fix="give a folder saved with save_pretrained, or a hub id that this machine can reach"
            f"{_nearest_cached(source)}",
        ) from error


def check_model_folder(folder: Path, *, where: str) -> None:
    """Stops early on a folder that cannot be a model.

    Raises:
        ModelError: The folder is absent or has no config.json; weights are checked by
            `require_weights`.
    """
    if not folder.is_dir():
        raise ModelError(
            f"model folder {str(folder)!r} does not exist",
            where=where,
            fix="give a folder saved by captune or transformers, or a hub id such as owner/name",
        )


def require_weights(folder: Path, *, where: str) -> None:
    """Stops on a model folder without weights, before anything is built.

    Raises:
        ModelError: No safetensors or pytorch_model file lies in the folder.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{str(folder)!r} has no config.json",
            where=where,
            fix="give the folder that save_pretrained wrote, such as runs/NAME/model",
        )
    if not any(next(folder.glob(pattern), None) for pattern in _WEIGHTS):
        raise ModelError(
            f"model folder {str(folder)!r} has no weights (*.safetensors)",
            where=where,
            fix="copy the weights into it, or give the folder that save_pretrained wrote",
        )


def with_did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing when no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def is_local(source: str) -> bool:
    """Whether `source` names something on this disk rather than a hub id."""
    return _looks_local(source)


def _looks_local(source: str) -> bool:
    path = Path(source).expanduser()
    return path.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1


def _nearest_cached(source: str) -> str:
    """The nearest id in the local hub cache, for misspelt ones."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    if not cache.is_dir():
        return ""
    cached = [p.name.removeprefix("models--").replace("--", "/") for p in cache.glob("models--*")]
    return with_did_you_mean(source, cached)
