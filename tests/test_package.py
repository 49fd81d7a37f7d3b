"""The package after import: lazy public names and a version."""

from __future__ import annotations

import importlib.metadata
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


def test_the_module_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "captune", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"captune {captune.__version__}\n"
