"""`--backend`: run a plain model through its conversion, made once and kept in the cache folder.

`auto` converts only where it pays: torch and the conversion are timed on one batch, once per model
and machine, and what that costs stays below a twentieth of the run.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from PIL import Image

from captune.errors import CaptuneError, MissingExtraError, ModelError, OutputError
from captune.export.export_model import ExportOptions, export_model
from captune.hub import find_model, is_local, read_json_file, weight_files
from captune.inference import (
    PROBED_IMAGES,
    ExportFormat,
    LoadedCaptioner,
    Probe,
    RunRequest,
    conversion_folder,
    drop_unused,
    has_conversion,
    known_model,
    load,
    load_exported,
    local_files,
    require_runtime,
    write_probe,
)
from captune.progress import Say
from captune.recipe import GenerateConfig
from captune.storage import is_locked, lock_folder, remove_folder
from captune.suggest import format_bytes, quote_words

_MAX_SHARE = 0.05
"""Finding out takes at most this share of the run's time."""

_CONVERSION_SECONDS = 20.0
_CONVERSION_SECONDS_PER_GB = 40.0
"""Time to convert and compare a model, on two cores; plus so much per gigabyte of weights."""

_SIZE_FACTOR = 2.2
"""A conversion's size relative to the weights, which may be in half precision."""

_CHECKED = 8

_MAX_WAIT = 3600.0
"""Seconds to wait for another process that converts the same model; `auto` does not wait."""


def choose_model(request: RunRequest, *, say: Say) -> str:
    """Return the model to load: the given one, or the folder of its conversion.

    Raises:
        MissingExtraError: The backend was asked for by name and is not installed.
        ModelError: The model cannot be converted, or its captions change.
    """
    known = known_model(request)
    if known is not None:
        return known
    if request.backend == "auto":
        return _choose(request, say=say)
    to: ExportFormat = "onnx" if request.backend == "onnx" else "openvino"
    return _convert(request, to, say=say) or request.model


def _convert(request: RunRequest, to: ExportFormat, *, say: Say) -> str | None:
    """Return the folder of the conversion, made now if needed; `None` if the disk is too full."""
    require_runtime(to, where="--backend")
    source = find_model(request.model)
    if not is_local(source):
        # Fetched now, so that the commit is known.
        read_json_file(source, "config.json", where="MODEL", revision=request.revision)
    folder = conversion_folder(source, request.revision, to=to)
    if folder is None:
        raise ModelError(
            f"{request.model!r} cannot be identified, so its conversion cannot be kept",
            where="--backend",
            fix=f"captune export {quote_words(request.model)} OUT --to {to}",
        )
    if has_conversion(folder):
        return str(folder)
    needed, free = _needed_bytes(request), _free_bytes(folder)
    if needed > free:
        say(
            f"not converted: {format_bytes(needed)} are needed in {folder.parent} and"
            f" {format_bytes(free)} are free; captioning with torch"
        )
        return None
    is_auto = request.backend == "auto"
    if not is_auto and is_locked(folder.parent, purpose=folder.name):
        say(f"waiting for another process, which converts {request.model}")
    options = ExportOptions(to, num_checked=_CHECKED, revision=request.revision)
    wait = 0.0 if is_auto else _MAX_WAIT
    try:
        with lock_folder(folder.parent, purpose=folder.name, wait=wait):
            if not has_conversion(folder):
                # A cleaner may have taken some of its files.
                remove_folder(folder)
                say(f"converting {request.model} to {to}, once; kept in {folder.parent}")
                export_model(source, folder, options=options, say=lambda _: None)
                drop_unused(folder)
    except OutputError as error:
        say(f"not converted: {error.what}; captioning with torch")
        return None
    return str(folder)


def _choose(request: RunRequest, *, say: Say) -> str:
    """Return the faster form of a model, if finding out costs little."""
    source = find_model(request.model)
    folder = conversion_folder(source, request.revision, to="openvino")
    if folder is None or _has_accelerator():
        return request.model
    try:
        return _probe(request, folder, say=say)
    except MissingExtraError:
        raise
    except CaptuneError as error:
        say(f"note: openvino is not used: {error.what}")
        return request.model


def _probe(request: RunRequest, folder: Path, *, say: Say) -> str:
    started = time.perf_counter()
    model = load(
        request.model, device="cpu", revision=request.revision, precision=request.precision
    )
    by_torch = _seconds_per_image(model)
    del model
    spent = time.perf_counter() - started
    cost = seconds_to_find_out(spent, num_bytes=_needed_bytes(request))
    if cost > _MAX_SHARE * by_torch * request.num_images:
        return request.model
    converted = _convert(request, "openvino", say=say)
    if converted is None:
        return request.model
    exported = load_exported(Path(converted), device="cpu", precision=request.precision)
    probe = Probe(by_torch, _seconds_per_image(exported))
    write_probe(folder, probe, precision=request.precision)
    say(
        f"torch takes {probe.torch:.3f} s per image, openvino {probe.exported:.3f}: captioning"
        f" with {'openvino' if probe.wins else 'torch'}"
    )
    return converted if probe.wins else request.model


def seconds_to_find_out(timing_torch: float, *, num_bytes: float) -> float:
    """Estimate the seconds to time torch and a conversion, and to convert.

    Args:
        timing_torch: Seconds that loading and timing the model in torch took.
        num_bytes: Size of the conversion.
    """
    converting = _CONVERSION_SECONDS + _CONVERSION_SECONDS_PER_GB * num_bytes / 1e9
    # The conversion is loaded and timed as torch was.
    return 2 * timing_torch + converting


def _seconds_per_image(captioner: LoadedCaptioner) -> float:
    """Return the seconds per image of a batch of noise, the second one: the first warms up."""
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (480, 640, 3), dtype=np.uint8) for _ in range(PROBED_IMAGES)]
    images = [(str(number), Image.fromarray(pixels)) for number, pixels in enumerate(noise)]
    config = captioner.complete(GenerateConfig.model_validate({}))
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        list(captioner.stream(images, config=config, batch_size=PROBED_IMAGES, decode="inline"))
        seconds.append((time.perf_counter() - started) / PROBED_IMAGES)
    return min(seconds)


def _has_accelerator() -> bool:
    from captune.hardware import available_kinds

    return available_kinds()[0] != "cpu"


def _needed_bytes(request: RunRequest) -> float:
    """Return the size of a model's conversion; 0 if the model has not been downloaded."""
    folder = local_files(find_model(request.model), request.revision)
    weights = [] if folder is None else weight_files(folder)
    return _SIZE_FACTOR * sum(file.stat().st_size for file in weights)


def _free_bytes(folder: Path) -> int:
    place = next(parent for parent in folder.parents if parent.exists())
    return shutil.disk_usage(place).free
