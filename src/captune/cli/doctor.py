"""`captune doctor`: check devices, packages, caches and network, and how to fix problems."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES
from captune.cli.findings.finding import Finding
from captune.cli.findings.folder import examine_folder
from captune.cli.findings.network import examine_network
from captune.errors import CaptuneError, OutputError
from captune.progress import Color, print_line
from captune.software import installed_version, read_java_version
from captune.storage import find_cache_folder
from captune.suggest import format_count

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "pillow")
# Extra: a package that shows whether it is installed, and what it is for.
_EXTRAS = {
    "meteor": ("pycocoevalcap", "METEOR's tables"),
    "java": ("pycocoevalcap", "SPICE's jars"),
    "bert_score": ("bert_score", "BERTScore"),
    "kaggle": ("kagglehub", "data sets from Kaggle"),
    "notebook": ("ipywidgets", "the widget"),
    "openvino": ("openvino", "fast captioning on CPUs"),
    "onnx": ("onnxruntime", "models exported as ONNX"),
    "track": ("wandb", "W&B and trackio"),
}
# Attribute of torch.version: the platform of the build.
_BUILDS = {"cuda": "CUDA", "hip": "ROCm", "xpu": "XPU"}
# Program installed with a driver: torch's name for its devices.
_DRIVER_TOOLS = {"nvidia-smi": "cuda", "rocm-smi": "cuda", "amd-smi": "cuda", "xpu-smi": "xpu"}
_MIN_FREE_DISK = 10 * 2**30


def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder where captions will be written, such as one of a network share.",
            show_default="the current one",
        ),
    ] = None,
) -> None:
    """Check devices, packages, caches and network, and print how to fix problems.

    Covers Python, torch, devices, precision, Java, extras, caches, disk, the file system of a
    folder, the hub and Kaggle.
    """
    place = Path.cwd() if folder is None else folder
    if not place.is_dir():
        raise OutputError(f"the folder {place} does not exist", fix="check the path")
    findings = list(examine(place))
    colors: dict[str, Color] = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in findings:
        text, color = f"{finding.name:<18}{finding.detail}", colors[finding.state]
        print_line(text, label=f"{finding.state:<4}", color=color)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FINISHED_WITH_FAILURES)


def examine(folder: Path) -> Iterator[Finding]:
    """Yield every finding, the cheap ones first; files are tried in a folder."""
    yield _python()
    yield from (_package(name) for name in _PACKAGES)
    yield from examine_devices()
    yield _java()
    yield from (_extra(extra, *about) for extra, about in _EXTRAS.items())
    yield from _caches()
    yield _disk()
    yield from examine_folder(folder)
    yield from examine_network()


def _python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def _package(name: str) -> Finding:
    version = installed_version(name)
    if version is None:
        return Finding("bad", name, "not installed: pip install -c constraints.txt -e .")
    return Finding("ok", name, version)


def examine_devices() -> Iterator[Finding]:
    """Report the build of torch, whether each device computes, and drivers without a device."""
    try:
        import torch

        from captune.hardware import available_kinds
    # OSError: a library of the driver's that torch needs is missing.
    except (ImportError, OSError) as error:
        yield Finding("bad", "devices", f"torch cannot be imported: {error}")
        return
    builds = [
        f"{name} {version}"
        for key, name in _BUILDS.items()
        if (version := getattr(torch.version, key, None))
    ]
    build = ", ".join(builds) or "for the CPU (and Apple MPS) only"
    yield Finding("ok", "torch build", f"{torch.__version__}, {build}")
    for number, kind in enumerate(available_kinds()):
        yield _device(kind, is_default=number == 0)
    for tool, kind in _DRIVER_TOOLS.items():
        if shutil.which(tool) and kind not in available_kinds():
            detail = (
                f"{tool} is installed, but torch finds no {kind} device: see README, setting up"
            )
            yield Finding("note", "gpu", detail)


def _device(kind: str, *, is_default: bool) -> Finding:
    """Return whether a device computes: one that torch lists may be busy, or too old for it."""
    import torch

    from captune.hardware import choose_hardware, find_device_fix

    try:
        hardware = choose_hardware(kind)
        torch.ones(2, device=hardware.device).sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        fix = find_device_fix(error) or "update torch and the driver, or use --device cpu"
        return Finding("bad", "device", f"{kind} does not compute ({reason}): {fix}")
    chosen = "; auto uses it" if is_default else ""
    only = " (no native bf16)" if hardware.precision != "bf16" else ""
    return Finding("ok", "device", f"{hardware.describe()}{only}{chosen}")


def _java() -> Finding:
    path = shutil.which("java")
    if path is None:
        return Finding("note", "java", "not found; only the SPICE metric needs it")
    try:
        printed = read_java_version(path, seconds=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("note", "java", f"{path} does not run: {error}")
    return Finding("ok", "java", (printed.splitlines() or ["no version printed"])[0])


def _extra(extra: str, package: str, use: str) -> Finding:
    version = installed_version(package)
    if version is None:
        detail = f"not installed ({use}): pip install 'captune[{extra}]'"
        return Finding("note", f"extra {extra}", detail)
    return Finding("ok", f"extra {extra}", f"{package} {version}")


def _caches() -> Iterator[Finding]:
    try:
        import datasets
        from huggingface_hub import constants

        from captune.data import kaggle_cache_folder
    except ImportError as error:
        detail = f"cannot be examined: {error}; pip install --upgrade captune"
        yield Finding("bad", "caches", detail)
        return

    offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    hub = Path(constants.HF_HUB_CACHE)
    models, sets = (sum(1 for _ in hub.glob(f"{kind}--*")) for kind in ("models", "datasets"))
    yield _cache(
        "hub cache",
        hub,
        f"{format_count(models, 'model')}, {format_count(sets, 'data set')}{offline}",
        "HF_HOME",
    )
    read = Path(datasets.config.HF_DATASETS_CACHE)
    yield _cache("datasets cache", read, "data sets read before", "HF_DATASETS_CACHE")
    for name, find, describe, variable in (
        ("kaggle cache", kaggle_cache_folder, _count_kaggle, "KAGGLEHUB_CACHE"),
        ("captune cache", find_cache_folder, _count_entries, "CAPTUNE_CACHE"),
    ):
        try:
            folder = find()
            yield _cache(name, folder, describe(folder), variable)
        except CaptuneError as error:
            yield Finding("bad", name, f"{error.what}: {error.fix}")
        except OSError as error:
            yield Finding("bad", name, f"{error.strerror}: set {variable} to another folder")


def _count_kaggle(folder: Path) -> str:
    return format_count(sum(1 for _ in folder.glob("datasets/*/*")), "data set")


def _count_entries(folder: Path) -> str:
    size = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    return format_count(size, "entry", plural="entries")


def _cache(name: str, folder: Path, held: str, variable: str) -> Finding:
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        return Finding("bad", name, f"{nearest} is a file: set {variable} to a folder")
    if not os.access(nearest, os.W_OK):
        return Finding(
            "note", name, f"{folder} cannot be written: set {variable} to another folder"
        )
    return Finding("ok", name, f"{folder}, {held if nearest == folder else 'not created yet'}")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    state: Literal["ok", "note"] = "ok" if free >= _MIN_FREE_DISK else "note"
    return Finding(state, "disk", f"{free / 2**30:.0f} GiB free in {Path.cwd()}")
