"""`captune doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from captune.cli.app import FINISHED_WITH_FAILURES

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "pillow")
_EXTRAS = {"meteor": "pycocoevalcap", "lora": "peft", "kaggle": "kagglehub", "track": "wandb"}
_LITTLE_DISK = 10 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        state: `ok`, `note` (something optional is missing) or `bad` (captune cannot work).
        name: What was looked at.
        detail: What was found, and what to do when it is not ok.
    """

    state: Literal["ok", "note", "bad"]
    name: str
    detail: str


def doctor() -> None:
    """Say what this machine has and lacks: Python, torch, devices, Java, caches and disk."""
    findings = list(examine())
    colors = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in findings:
        state = typer.style(f"{finding.state:<5}", fg=colors[finding.state])
        typer.echo(f"{state}{finding.name:<15}{finding.detail}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(FINISHED_WITH_FAILURES)


def examine() -> Iterator[Finding]:
    """Every finding, the cheap ones first."""
    yield _python()
    yield from (_package(name) for name in _PACKAGES)
    yield from _hardware()
    yield _java()
    yield from (_extra(extra, package) for extra, package in _EXTRAS.items())
    yield _hub_cache()
    yield _disk()
    yield _rename()


def _python() -> Finding:
    return Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding("bad", name, "not installed: pip install -c constraints.txt -e .")
    return Finding("ok", name, version)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hardware() -> Iterator[Finding]:
    try:
        import torch

        from captune.models.devices import choose_hardware
    except ImportError as error:
        yield Finding("bad", "devices", f"torch does not import: {error}")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA in this build"
    yield Finding("ok", "torch build", f"{torch.__version__}, {build}")
    yield Finding("ok", "device", choose_hardware().describe())
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        yield Finding(
            "note", "gpu", "nvidia-smi is here, but torch sees no GPU: see README, set-up"
        )


def _java() -> Finding:
    path = shutil.which("java")
    if path is None:
        return Finding("note", "java", "not found: needed for the SPICE metric only")
    try:
        result = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("note", "java", f"{path} does not run: {error}")
    lines = result.stderr.splitlines() or result.stdout.splitlines() or ["no version printed"]
    return Finding("ok", "java", lines[0])


def _extra(extra: str, package: str) -> Finding:
    version = _version(package)
    if version is None:
        return Finding("note", f"extra {extra}", f"not installed: pip install 'captune[{extra}]'")
    return Finding("ok", f"extra {extra}", f"{package} {version}")


def _hub_cache() -> Finding:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    if not folder.is_dir():
        return Finding("ok", "hub cache", f"{folder}, empty{offline}")
    if not os.access(folder, os.W_OK):
        return Finding("note", "hub cache", f"{folder} cannot be written: set HF_HOME{offline}")
    models = sum(1 for _ in folder.glob("models--*"))
    return Finding("ok", "hub cache", f"{folder}, {models} models{offline}")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    state: Literal["ok", "note"] = "ok" if free >= _LITTLE_DISK else "note"
    return Finding(state, "disk", f"{free / 2**30:.0f} GiB free in {Path.cwd()}")


def _rename() -> Finding:
    """Whether files can appear whole here; some network shares cannot do that."""
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".captune-doctor-") as folder:
            first, second = Path(folder, "a"), Path(folder, "b")
            first.write_bytes(b"new")
            second.write_bytes(b"old")
            first.replace(second)
            is_whole = second.read_bytes() == b"new" and not first.exists()
    except OSError as error:
        detail = f"cannot be written: {error.strerror}; run captune elsewhere, or give --out"
        return Finding("bad", "working folder", detail)
    if not is_whole:
        return Finding("bad", "working folder", "renames are not atomic; use a local disk")
    return Finding("ok", "working folder", f"{Path.cwd()} can be written, renames are atomic")
