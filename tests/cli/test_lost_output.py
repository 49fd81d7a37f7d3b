"""A stdout that cannot be written: an error where what was lost is the command's result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from captune.cli import main
from captune.cli.app import COMMANDS
from captune.progress import print_line

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [("", 0, 0), ("", 3, 2), ("--dry-run", 0, 2), ("--preview=2", 0, 2), ("--dry-run", 1, 1)],
)
def test_a_plan_or_a_list_of_failures_that_cannot_be_printed_is_an_error(
    add_command: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    code: int,
    expected: int,
) -> None:
    def finish(*, dry_run: bool = False, preview: int = 0) -> None:
        print_line(f"a.png: truncated {dry_run} {preview}")
        raise typer.Exit(code)

    add_command(finish)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as caught:
            main(["x", *words.split()])
    assert caught.value.code == expected
    printed = capsys.readouterr().err
    assert printed.startswith("error: cannot write to stdout" if expected == 2 else "")
    assert bool(printed) == (expected == 2)


@pytest.mark.parametrize("name", ["evaluate", "compare", "score", "runs", "bench", "doctor"])
def test_commands_whose_output_is_their_result_are_marked(name: str) -> None:
    assert COMMANDS[name].prints


@pytest.mark.parametrize("words", ["recipes", "data check shapes:4", "--version"])
def test_a_result_that_cannot_be_printed_is_an_error(words: str) -> None:
    command = f"{sys.executable} -m captune {words} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    what, fix = done.stderr.splitlines()[-2:]
    assert what == "error: cannot write to stdout: No space left on device"
    assert fix.startswith("  fix:   free its disk")
