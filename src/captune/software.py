"""Which packages and which Java are installed; and packages that are imported in part."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_CONVERTER = "openvino.tools.ovc"


def installed_version(package: str) -> str | None:
    """Return the version of a package; `None` if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_java_version(java: str, *, seconds: float) -> str:
    """Return what `java -version` prints, in whichever encoding; most of it is on stderr.

    Raises:
        OSError: It does not start.
        subprocess.TimeoutExpired: It takes longer than that many seconds.
    """
    import subprocess

    shown = subprocess.run(
        [java, "-version"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )
    return shown.stderr + shown.stdout


def import_openvino() -> Any:
    """Return the package `openvino`, imported without its converter.

    The converter takes half of the import's time (0.17 of 0.34 CPU seconds), and running a graph
    needs none. Without it `openvino.convert_model` is missing: import `openvino.tools.ovc`.

    Raises:
        ImportError: The package is not installed.
    """
    with _hidden(_CONVERTER):
        return importlib.import_module("openvino")


def import_without_telemetry(name: str) -> Any:
    """Return a module of OpenVINO or NNCF that does not report to its makers how it is used.

    Without a question, they send what is converted to a service for web analytics, from a process
    that they fork in a thread, and keep an id of the user in the home folder.

    Raises:
        ImportError: The package is not installed.
    """
    with _hidden("openvino_telemetry"):
        return importlib.import_module(name)


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let a module that is not imported yet seem not to be installed; others go without it."""
    is_new = name not in sys.modules
    if is_new:
        # What Python takes for a module that does not exist.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if is_new:
            del sys.modules[name]
