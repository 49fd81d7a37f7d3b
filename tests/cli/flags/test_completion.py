"""Completion by a shell: what its script gives is answered, anything else is an error."""

from __future__ import annotations

import pytest

from captune.cli import main


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run captune with a script's variables; return exit code, stdout and stderr."""

    def run(**variables: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "80")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as stopped:
            main([])
        return int(stopped.value.code or 0), *capsys.readouterr()

    return run


def test_the_variables_of_the_script_for_bash_give_commands(complete):
    variables = {"COMP_WORDS": "captune ca", "COMP_CWORD": "1"}
    assert complete(_CAPTUNE_COMPLETE="complete_bash", **variables) == (0, "caption\n", "")


def test_each_completion_is_one_line(complete):
    words = {
        "_TYPER_COMPLETE_ARGS": "captune caption --",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    _, printed, _ = complete(_CAPTUNE_COMPLETE="complete_fish", **words)
    assert all(line.startswith("--") for line in printed.splitlines())


@pytest.mark.parametrize(
    "variables",
    [
        {"_CAPTUNE_COMPLETE": "1"},
        {"_CAPTUNE_COMPLETE": "complete_tcsh"},
        {"_CAPTUNE_COMPLETE": "complete_bash"},
        {"_CAPTUNE_COMPLETE": "complete_bash", "COMP_WORDS": "captune "},
        {"_CAPTUNE_COMPLETE": "complete_bash", "COMP_WORDS": "captune ", "COMP_CWORD": "x"},
        {"_CAPTUNE_COMPLETE": "complete_bash", "COMP_WORDS": "captune ", "COMP_CWORD": "9" * 5000},
    ],
)
def test_a_variable_that_no_script_sets_so_is_named(complete, variables: dict[str, str]):
    code, _, error = complete(**variables)
    assert code == 2
    assert error.startswith("error: no shell asks for completions so: _CAPTUNE_COMPLETE='")
    assert "fix:   unset _CAPTUNE_COMPLETE;" in error
