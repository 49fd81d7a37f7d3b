"""Which packages and which Java are installed; and one package that is imported in part."""

from __future__ import annotations

import importlib
import sys
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
    is_first = "openvino" not in sys.modules and _CONVERTER not in sys.modules
    if is_first:
        # What Python takes for a module that does not exist; openvino goes without it.
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        if is_first:
            del sys.modules[_CONVERTER]
