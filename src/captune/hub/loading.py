"""Load models from the Hugging Face hub and from local folders, with errors that include a fix.

An existing path takes precedence and is never looked up on the hub. This module imports nothing
heavy: the transformers class that loads is an argument.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captune.errors import ModelError
from captune.hub.adapters import ADAPTER_FILE, adapter_error, read_adapter
from captune.hub.failures import (
    WITHOUT_HUB,
    HubFault,
    find_fault,
    hub_failures,
    nearest_cached,
    no_hub,
)
from captune.hub.names import is_local, split_revision
from captune.hub.reach import why_unreachable
from captune.storage import expand_home, name_kind, naming, require_utf8
from captune.suggest import did_you_mean, quote_words

EXPORT_FILE = "export.json"
"""The file that makes a folder an exported model; see `captune export`."""

_LOST_LINK = "a link that leads nowhere"

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*")
_POINTER = b"version https://git-lfs"


def load_pretrained(loader: Any, source: str, *, where: str, **settings: Any) -> Any:
    """Return `loader.from_pretrained(source)`, with its failures explained to the user.

    Args:
        loader: A transformers class with `from_pretrained`.
        source: Local folder, hub id, or `owner/name@REVISION`.
        where: Recipe key or argument that named the source.
        **settings: Arguments of `from_pretrained`.

    Raises:
        ModelError: The folder or id does not exist, cannot be read, or does not suit the class.
    """
    if is_local(source):
        source = str(expand_home(source))
        check_model_folder(Path(source), where=where)
    name, revision = split_revision(source, settings.pop("revision", None), where=where)
    pinned: dict[str, Any] = {"revision": revision} if revision is not None else {}
    no_answer = "" if is_local(name) else why_unreachable()
    if no_answer:
        # Cached files still load, without an attempt to connect and a warning per file.
        pinned["local_files_only"] = True
    try:
        with quiet_transformers(), NamedErrors():
            return loader.from_pretrained(name, **settings, **pinned)
    except _loading_failures() as error:
        raise _explained(error, name, where=where, no_answer=no_answer) from error


def check_model_folder(folder: Path, *, where: str) -> None:
    """Check that a path can be the folder of a model or a tokenizer.

    Raises:
        ModelError: The path does not exist, is not UTF-8 or not a folder, or holds a pipe or a
            device, which may never end, or a folder or a broken link in place of settings.
    """
    if folder.is_dir():
        require_utf8(folder, ModelError, where=where)
        _refuse_endless(folder, where=where)
        return
    if folder.exists():
        raise ModelError(
            f"{str(folder)!r} is a file, not a model folder",
            where=where,
            fix="give the folder that contains config.json and the weights",
        )
    raise ModelError(
        f"model folder {str(folder)!r} does not exist",
        where=where,
        fix="give a folder saved by captune or transformers, or a hub id such as owner/name",
    )


def _refuse_endless(folder: Path, *, where: str) -> None:
    for path in folder.iterdir():
        kind = _kind_of_entry(path)
        # transformers takes settings that are a folder or whose link leads nowhere for absent, and
        # uses its defaults. Others of these kinds are not read, or missed by name.
        is_harmless = kind in ("a folder", _LOST_LINK) and path.suffix != ".json"
        if kind is not None and not is_harmless:
            raise ModelError(
                f"{str(path)!r} is {kind}, not a file",
                where=where,
                fix="give a folder that save_pretrained wrote, complete and unchanged",
            )


def _kind_of_entry(path: Path) -> str | None:
    """Return what an entry of a model's folder is; `None`: a regular file."""
    try:
        return name_kind(path)
    except OSError:
        return _LOST_LINK if path.is_symlink() else None


def find_model(source: str) -> str:
    """Return a model's folder, for a run's folder the `model` in it; hub ids are unchanged.

    Raises:
        ModelError: A local folder does not exist or contains no model.
    """
    if not is_local(source):
        return source
    folder = model_folder(expand_home(source))
    check_model_folder(folder, where=f"MODEL {source}")
    if (folder / EXPORT_FILE).is_file():
        return str(folder)
    require_weights(folder, where=f"MODEL {source}")
    return str(folder)


def model_folder(folder: Path) -> Path:
    """Return the folder of a run's model, which may be damaged; a model's folder is unchanged."""
    inner = folder / "model"
    return inner if inner.is_dir() and not (folder / "config.json").is_file() else folder


def require_weights(folder: Path, *, where: str) -> None:
    """Check that a model folder has a config and usable weights.

    Raises:
        ModelError: No config.json, no weights, Git LFS pointers in their place, or an adapter.
    """
    if (folder / ADAPTER_FILE).is_file() and not any(map(_is_whole, weight_files(folder))):
        raise adapter_error(str(folder), read_adapter(folder), where=where)
    if (folder / EXPORT_FILE).is_file():
        raise ModelError(
            f"{str(folder)!r} is an exported model, which can only caption",
            where=where,
            fix="give the model that it was exported from: `source` in its export.json",
        )
    if not (folder / "config.json").is_file():
        inner = folder / "model"
        given = inner if (inner / "config.json").is_file() else "runs/NAME/model"
        raise ModelError(
            f"{str(folder)!r} has no config.json",
            where=where,
            fix=f"give the folder that save_pretrained wrote, such as {given}",
        )
    weights = weight_files(folder)
    if not weights:
        raise ModelError(
            f"model folder {str(folder)!r} has no weights (*.safetensors)",
            where=where,
            fix="copy the weights into it, or give the folder that save_pretrained wrote",
        )
    for file in weights:
        if not file.is_file():
            kind = "a folder" if file.is_dir() else _LOST_LINK
            raise ModelError(
                f"{str(file)!r} is {kind}, not the weights",
                where=where,
                fix="copy the weights into the folder again",
            )
        with naming(file), file.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise ModelError(
                    f"{str(file)!r} is a Git LFS pointer, not the weights",
                    where=where,
                    fix=f"fetch the file itself: cd {quote_words(str(folder))} && git lfs pull",
                )


def _is_whole(file: Path) -> bool:
    return not file.name.startswith("adapter_")


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that contain its weights, and their index."""
    return sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern)})


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide loading bars and tables of unused weights; downloads still show their progress.

    captune reports the important facts in one line.
    """
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


class NamedErrors:
    """Context that turns errors of `tokenizers` (bare `Exception`s, Rust's panics) into ValueError.

    Unnecessary once https://github.com/huggingface/tokenizers raises its own classes.
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if kind is not None and (kind is Exception or kind.__name__ == "PanicException"):
            raise ValueError(str(error)) from error


def _loading_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of transformers 5.23 for missing, damaged or unsuitable files."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    built_in = (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError)
    others = (
        *(ArithmeticError, AssertionError, EOFError, MemoryError),
        *(pickle.UnpicklingError, SafetensorError, StrictDataclassError),
    )
    return (*built_in, *others, *hub_failures())


def _explained(error: Exception, source: str, *, where: str, no_answer: str = "") -> ModelError:
    from safetensors import SafetensorError

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first line of a failed check names the key, the second the problem.
    reason = " ".join(lines[:2] if lines[:1] and lines[0].endswith(":") else lines[:1])
    reason = reason or type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        return ModelError(
            f"the weights of {source!r} are a pickle with more than tensors in it; it was not run",
            where=where,
            fix="use a copy with model.safetensors (save_pretrained writes one)",
        )
    if isinstance(error, SafetensorError):
        return ModelError(
            f"the weights of {source!r} are damaged: {reason}",
            where=where,
            fix="copy or download model.safetensors again",
        )
    if is_local(source):
        return ModelError(
            f"cannot load {source!r}: {reason}",
            where=where,
            fix="give a folder that save_pretrained wrote, complete and unchanged",
        )
    fault = no_hub(no_answer) if no_answer else find_fault(error, source)
    named = f"cannot load hub id {source!r}"
    if fault is None:
        # The text of transformers, mostly because connections are disabled (HF_HUB_OFFLINE).
        named += nearest_cached(source)
        fault = HubFault(reason, "check the id and the connection", WITHOUT_HUB)
    return ModelError(
        f"{named}: {fault.what}",
        where=where,
        fix=fault.complete(f"{fault.fix}, or give a local folder{_folders_beside(source)}"),
    )


def _folders_beside(source: str) -> str:
    """Return the folders that may be meant: ` (here: a/b, a/c)` for the id `a/d`.

    An id of one word is more often the name of a folder: the text says that none has it.
    """
    name = source.partition("@")[0]
    owner = Path(name).parent
    if not owner.is_dir():
        return ""
    there: list[str] = []
    with contextlib.suppress(OSError):
        there = sorted(str(path) for path in owner.iterdir() if path.is_dir())
    if owner == Path():
        return f" (no folder is named {name!r}){did_you_mean(name, there)}"
    return f" (here: {', '.join(there[:5])})" if there else ""
