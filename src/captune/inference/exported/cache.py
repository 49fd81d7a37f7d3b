"""Conversions created by `--backend`, in captune's cache folder, and their measured speed.

The name of a conversion depends on the model's files, the format, and the versions of the packages
that created it, so that none is used for another model. This module does not import torch: with a
conversion at hand, captioning does not need it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from captune import __version__
from captune.errors import CaptuneError, ModelError
from captune.hub import EXPORT_FILE, find_model, is_local, split_revision
from captune.inference.exported.folder import ExportFormat, find_exported
from captune.inference.exported.graphs import Backend, has_runtime
from captune.inference.model_digest import digest_model
from captune.software import installed_version
from captune.storage import (
    expand_home,
    find_cache_folder,
    is_locked,
    newest_first,
    read_json_object,
    remove_folder,
    write_json,
)

WORTH = 0.95
"""A conversion is used if it takes at most this share of torch's time."""

_KEPT, _KEPT_SECONDS = 8, 7 * 86_400
"""So many conversions are kept, and all that were used in the last week."""

_SHAPING = ("torch", "transformers", "openvino", "onnxruntime")


PROBED_IMAGES = 8
"""Images per timed batch."""

MIN_IMAGES = 2000
"""With fewer images, `auto` uses torch without timing either.

Timing loads the model once more and captions two batches, half a second for a model that captions
2,000 images in 20 seconds; and a model of several hundred megabytes needs more images than this
before its conversion takes less than a twentieth of the run.
"""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A model and how to run it.

    Attributes:
        model: Model folder, run folder or hub id.
        backend: Runtime, or `auto`.
        num_images: Number of images to caption.
        device: `auto` or a torch device name.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        revision: Hub branch, tag or commit; `None`: the newest.
    """

    model: str
    backend: Backend
    num_images: int
    device: str
    precision: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Seconds per image of one model on this machine.

    Attributes:
        torch: With torch.
        exported: With the conversion.
    """

    torch: float
    exported: float

    @property
    def wins(self) -> bool:
        """Whether the conversion is worth using."""
        return self.exported <= WORTH * self.torch


def known_model(request: RunRequest) -> str | None:
    """Return the model or conversion to load if no work is needed to find it out, else `None`.

    Raises:
        ModelError: A local folder does not exist or contains no model, or is an exported model
            of another backend.
    """
    exported = find_exported(request.model)
    if exported is not None:
        _check_backend(exported, request.backend)
    if request.backend == "torch" or exported is not None:
        return request.model
    is_auto = request.backend == "auto"
    if is_auto and (request.device not in ("auto", "cpu") or not has_runtime("openvino")):
        return request.model
    source = find_model(request.model)
    to: ExportFormat = "onnx" if request.backend == "onnx" else "openvino"
    folder = conversion_folder(source, request.revision, to=to)
    if not is_auto:
        return _take(folder) if folder is not None and has_conversion(folder) else None
    probe = None if folder is None else read_probe(folder, precision=request.precision)
    if folder is not None and probe is not None and probe.wins and has_conversion(folder):
        return _take(folder)
    is_settled = probe is not None and not probe.wins
    return request.model if is_settled or request.num_images < MIN_IMAGES else None


def _take(folder: Path) -> str:
    """Return a conversion that is used now, and keep it: `drop_unused` goes by its time."""
    with suppress(OSError):
        os.utime(folder)
    return str(folder)


def drop_unused(folder: Path) -> None:
    """Delete the conversions beside a new one that nobody has used for a week, but for the newest.

    Each model that is trained may get one, of twice its size; without this the cache only grows.
    """
    found = (path.parent for path in folder.parent.glob(f"*/{EXPORT_FILE}"))
    for path in newest_first(found)[_KEPT:]:
        # Another process may delete it first; Windows deletes no file that a process has open.
        with suppress(OSError):
            is_new = time.time() - path.stat().st_mtime < _KEPT_SECONDS
            if is_new or is_locked(path.parent, purpose=path.name):
                continue
            remove_folder(path)
            for probe in path.parent.glob(f"{path.name}.*.json"):
                probe.unlink()


def _check_backend(folder: Path, backend: Backend) -> None:
    if backend == "auto":
        return
    content = read_json_object(folder / EXPORT_FILE, fix="")
    own, source = content.get("to"), content.get("source")
    if own != backend:
        raise ModelError(
            f"{folder} was exported to {own}, which {backend} cannot run",
            where="--backend",
            fix=f"--backend auto, or give the model that it was exported from: {source}",
        )


def conversion_folder(source: str, revision: str | None, *, to: ExportFormat) -> Path | None:
    """Return the folder for a model's conversion; `None` if the model's files are not local.

    Args:
        source: Folder or hub id of the model.
        revision: Hub branch, tag or commit; `None`: the newest.
        to: Format of the conversion.
    """
    identity = _identify(source, revision)
    if identity is None:
        return None
    versions = [f"{name}={installed_version(name)}" for name in _SHAPING]
    text = "\n".join([identity, to, f"captune={__version__}", *versions])
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return find_cache_folder() / "exported" / name


def local_files(source: str, revision: str | None) -> Path | None:
    """Return the folder of a model's files; of a hub model that is not cached `None`.

    Args:
        source: Folder or hub id of the model.
        revision: Hub branch, tag or commit; `None`: the newest.
    """
    if is_local(source):
        return expand_home(source)
    from huggingface_hub import try_to_load_from_cache

    name, revision = split_revision(source, revision, where="MODEL")
    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def has_conversion(folder: Path) -> bool:
    """Return whether a folder holds a conversion whose files have the sizes that were written."""
    if not (folder / EXPORT_FILE).is_file():
        return False
    try:
        sizes = read_json_object(folder / EXPORT_FILE, fix="")["sizes"]["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (AttributeError, CaptuneError, LookupError, OSError, TypeError, ValueError):
        return False


def read_probe(folder: Path, *, precision: str) -> Probe | None:
    """Return the times measured on this machine; `None` if there are none."""
    try:
        content = read_json_object(_probe_file(folder, precision), fix="")
        return Probe(float(content["torch"]), float(content["exported"]))
    except (CaptuneError, KeyError, OverflowError, TypeError, ValueError):
        return None


def write_probe(folder: Path, probe: Probe, *, precision: str) -> None:
    """Store the times measured on this machine.

    Args:
        folder: Folder of the conversion.
        probe: The times.
        precision: Requested precision, for which the times hold.

    Raises:
        OutputError: The cache folder cannot be written.
    """
    content = {"schema": 1, "torch": probe.torch, "exported": probe.exported}
    write_json(_probe_file(folder, precision), content)


def _probe_file(folder: Path, precision: str) -> Path:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{platform.node()} {platform.machine()} {platform.processor()} {cores} {_chip()}"
    name = hashlib.blake2b(machine.encode(), digest_size=6).hexdigest()
    return folder.with_name(f"{folder.name}.{name}.{precision}.json")


def _chip() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("model name")), "")


def _identify(source: str, revision: str | None) -> str | None:
    """Return a digest of a folder's files, or id and commit of a cached hub model, else `None`."""
    if is_local(source):
        return digest_model(source)
    name, _ = split_revision(source, revision, where="MODEL")
    folder = local_files(source, revision)
    return None if folder is None else f"{name}@{folder.name}"
