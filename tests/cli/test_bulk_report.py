"""The summary of a bulk run."""

from __future__ import annotations

from captune.bulk import BulkResult, Outcome
from captune.cli.bulk.report import BulkReport


def test_all_kept_files_are_counted_and_the_first_thousand_are_named(capsys):
    outcome = Outcome()
    for number in range(1002):
        outcome.add_kept(f"{number}.txt")
    BulkReport(BulkResult(outcome=outcome)).show()
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("1,002 files were edited in the meantime"), first
    assert (len(lines), lines[-1]) == (1001, "  and 2 more")
