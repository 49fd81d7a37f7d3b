"""The package after import: lazy public names and a version."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys

import pytest

import captune


def test_the_version_is_that_of_the_installed_package() -> None:
    assert captune.__version__ == importlib.metadata.version("captune")


def test_load_and_run_exist_and_are_listed() -> None:
    from captune.inference import load
    from captune.pipeline import run

    assert captune.load is load
    assert captune.run is run
    assert {"load", "run"} <= set(dir(captune))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'captune' has no attribute 'nope'"):
        captune.nope  # noqa: B018


def test_ctrl_c_while_the_command_line_is_imported_prints_no_traceback() -> None:
    script = (
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'captune.cli': signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from captune.__main__ import start\n"
        "start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGINT
    assert done.stdout + done.stderr == ""


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "captune", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"captune {captune.__version__}\n"
