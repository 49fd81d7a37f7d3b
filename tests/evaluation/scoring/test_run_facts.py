"""The readable facts of a run."""

from __future__ import annotations

import pytest

from captune.evaluation import command_fact, describe_seconds, software_facts


def test_the_command_can_be_run_again_and_omits_the_path_of_the_program() -> None:
    fact = command_fact(["/opt/venv/bin/captune", "evaluate", "my model", "--data", "x"])
    assert fact.value == "captune evaluate 'my model' --data x"
    assert fact.is_code
    as_module = command_fact(["/opt/lib/captune/__main__.py", "run", "demo"])
    assert as_module.value == "captune run demo"


def test_a_run_from_a_notebook_does_not_name_the_files_of_its_kernel() -> None:
    fact = command_fact(["/opt/ipykernel_launcher.py", "-f", "/tmp/tmpabc.json"])
    assert fact.value == "captune.run in a notebook"
    assert not fact.is_code


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (1061, "17 min 41 s"), (7500, "2 h 05 min")],
)
def test_times_have_fitting_units(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_versions_that_affect_captions_are_reported() -> None:
    facts = {fact.label: fact.value for fact in software_facts()}
    assert set(facts) >= {"Python", "captune", "torch", "transformers"}
    assert "not installed" not in facts.values()
