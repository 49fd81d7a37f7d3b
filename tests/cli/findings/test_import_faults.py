"""Packages that cannot be imported: the variable at fault is named, or the broken package."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from captune.cli.findings.import_faults import explain_import
from captune.errors import CaptuneError, EnvironmentValueError, MissingExtraError


def fail_import(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> BaseException:
    """Return what importing a package with this text raises."""
    (folder / "strange_package.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(Exception) as caught:
        importlib.import_module("strange_package")
    return caught.value


def explain(error: BaseException, environment: dict[str, str]) -> CaptuneError:
    fault = explain_import(error, environment)
    assert fault is not None
    return fault


def test_a_variable_with_the_value_of_the_message_is_at_fault(tmp_path, monkeypatch):
    error = fail_import(tmp_path, monkeypatch, "import os\nLIMIT = int('many')\n")
    fault = explain(error, {"PACKAGE_LIMIT": "many", "PACKAGE_HOME": "/x"})
    assert isinstance(fault, EnvironmentValueError)
    assert fault.what == (
        "cannot import strange_package: ValueError: invalid literal for int() with base 10: 'many'"
    )
    assert fault.where == f"PACKAGE_LIMIT='many'; {tmp_path / 'strange_package.py'}, line 2"
    assert fault.fix == "correct or unset PACKAGE_LIMIT"


def test_without_a_value_the_variables_that_the_file_reads_are_named(tmp_path, monkeypatch):
    text = "VALUES = 'PACKAGE_URL', 'PACKAGE_TOKEN', 'PACKAGE_SIZE'\nraise KeyError(1)\n"
    error = fail_import(tmp_path, monkeypatch, text)
    fault = explain(error, {"PACKAGE_URL": "no url", "PACKAGE_TOKEN": "secret", "OTHER": "x"})
    assert fault.where.startswith("PACKAGE_TOKEN=..., PACKAGE_URL='no url'; ")
    assert "secret" not in str(fault)


def test_a_variable_that_is_read_after_the_failure_is_not_named(tmp_path, monkeypatch):
    text = "URL = 'PACKAGE_URL'\nraise KeyError(1)\n" + 5 * "\n" + "LATER = 'PACKAGE_LATER'\n"
    error = fail_import(tmp_path, monkeypatch, text)
    fault = explain(error, {"PACKAGE_URL": "no url", "PACKAGE_LATER": "1"})
    assert fault.fix == "correct or unset PACKAGE_URL"


def test_an_import_that_no_variable_explains_is_a_broken_package(tmp_path, monkeypatch):
    error = fail_import(tmp_path, monkeypatch, "import strange_part_that_is_missing\n")
    fault = explain(error, {})
    assert isinstance(fault, MissingExtraError)
    assert "No module named 'strange_part_that_is_missing'" in fault.what
    assert fault.fix == "install it again: pip install --force-reinstall strange_package"
    without_docstrings = explain_import(error, {}, optimization=2)
    assert without_docstrings is not None
    assert "PYTHONOPTIMIZE" in without_docstrings.fix


def test_the_first_cause_is_explained(tmp_path, monkeypatch):
    cause = fail_import(tmp_path, monkeypatch, "LIMIT = int('many')\n")
    error = ImportError("the parts of this object are missing")
    error.__cause__ = cause
    assert "invalid literal" in explain(error, {}).what


@pytest.mark.parametrize(
    ("raised", "fix"),
    [("OSError(24, 'Too many open files', 'x.py')", "ulimit -n"), ("MemoryError()", "stop other")],
)
def test_an_error_of_the_system_does_not_blame_the_package(tmp_path, monkeypatch, raised, fix):
    fault = explain(fail_import(tmp_path, monkeypatch, f"raise {raised}\n"), {})
    assert fix in fault.fix
    assert "install" not in fault.fix


def test_an_error_that_no_import_raised_is_not_explained():
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("many")
    assert explain_import(caught.value, {"PACKAGE_LIMIT": "many"}) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [("HF_ENDPOINT", "http://["), ("HF_HUB_DOWNLOAD_TIMEOUT", "abc"), ("TQDM_MININTERVAL", "soon")],
)
def test_a_bad_variable_ends_a_command_with_its_name(variable, value, tmp_path):
    words = ["init", "blip-tiny", tmp_path / "model", "--train-tokenizer", "shapes:4"]
    done = subprocess.run(
        [sys.executable, "-m", "captune", *words],
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"where: {variable}={value!r}; " in done.stderr
    assert f"fix:   correct or unset {variable}" in done.stderr
    assert "Traceback" not in done.stderr
