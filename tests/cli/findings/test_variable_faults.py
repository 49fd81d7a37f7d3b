"""Variables that another package reads while a command works: the one at fault is named."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, PartialState

from captune.cli.findings.variable_faults import explain_variables
from captune.errors import EnvironmentValueError


@pytest.fixture
def state() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    "name, value",
    [("LOCAL_RANK", "1.5"), ("LOCAL_RANK", ""), ("ACCELERATE_TORCH_DEVICE", "nope")],
)
def test_a_value_that_accelerate_cannot_read_is_named(state, monkeypatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises((ValueError, RuntimeError)) as caught:
        PartialState()
    fault = explain_variables(caught.value)
    assert isinstance(fault, EnvironmentValueError)
    assert fault.what.startswith("accelerate refuses the environment: ")
    assert fault.where == f"{name}={value!r}"
    assert fault.fix == f"correct or unset {name}"


def fail(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> BaseException:
    """Return what a function with this text raises."""
    (folder / "odd_package.py").write_text(f"def work():\n    {text}\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(Exception) as caught:
        importlib.reload(importlib.import_module("odd_package")).work()
    return caught.value


def test_a_missing_variable_is_named_with_those_that_need_it(tmp_path, monkeypatch):
    text = "names = 'JOB_PLACE', 'JOB_SIZE'; raise ValueError('JOB_PLACE is not set')"
    fault = explain_variables(fail(tmp_path, monkeypatch, text), {"JOB_SIZE": "2"})
    assert fault is not None
    assert fault.where == "JOB_PLACE is not set"
    assert fault.fix == "set JOB_PLACE, or unset JOB_SIZE"


def test_an_error_about_something_else_is_not_explained(tmp_path, monkeypatch):
    text = "names = 'JOB_SIZE', 'JOB_NAME'; raise ValueError('2 rows of 3')"
    error = fail(tmp_path, monkeypatch, text)
    assert explain_variables(error, {"JOB_SIZE": "2", "JOB_NAME": "row"}) is None
