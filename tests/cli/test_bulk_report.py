"""The summary of a bulk run."""

from __future__ import annotations

import sys
from pathlib import Path

from captune.bulk import BulkResult, BulkSettings, Outcome
from captune.cli.bulk.report import BulkReport
from captune.cli.caption import _writes_files


def test_all_kept_files_are_counted_and_the_first_thousand_are_named(capsys):
    outcome = Outcome()
    for number in range(1002):
        outcome.add_kept(f"{number}.txt")
    BulkReport(BulkResult(outcome=outcome)).show()
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("1,002 files were edited in the meantime"), first
    assert (len(lines), lines[-1]) == (1001, "  and 2 more")


def test_progress_is_hidden_only_where_captions_go_to_the_terminal(monkeypatch, capsys):
    lines, file = BulkSettings(to=("stdout",)), BulkSettings(to=("jsonl",), out=Path("c.jsonl"))
    for is_terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda is_terminal=is_terminal: is_terminal)
        assert _writes_files(lines) is not is_terminal
        assert _writes_files(file)
    # With this variable, rich draws a bar as on a terminal.
    monkeypatch.setenv("FORCE_COLOR", "1")
    with BulkReport(BulkResult(), shows_progress=False).progress() as advance:
        assert advance is None
    assert capsys.readouterr() == ("", "")
