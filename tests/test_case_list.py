"""docs/cases.md and docs/faults.md: every case and every fault has a test that exists."""

from __future__ import annotations

import re

from support.places import ROOT

PAGE = (ROOT / "docs" / "cases.md").read_text(encoding="utf-8")
FAULTS = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| \d", line)
]


def _tests_of(cell: str) -> list[str]:
    """Return the tests of a cell and of the cases that it refers to, in either column."""
    found = re.findall(r"`(test_\w+)`", cell)
    for number in re.findall(r"\bas (\d+)", cell):
        found += re.findall(r"`(test_\w+)`", " ".join(ROWS[int(number) - 1][3:]))
    return found


def test_every_case_is_listed_and_has_a_test():
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 66)]
    assert [row[0] for row in ROWS if not _tests_of(" ".join(row[3:]))] == []
    # Bulk captioning has the cases 1 to 38 and 55 to 65, the server 1 to 14 and 36 to 54.
    files = [int(row[0]) for row in ROWS if row[3]]
    served = [int(row[0]) for row in ROWS if row[4]]
    assert set(files) == {*range(1, 38), *range(55, 66)}
    assert set(served) >= {*range(1, 15), 36, *range(38, 55), 59, 61, 65}


def test_every_fault_is_listed_and_has_tests_of_it_and_of_another_of_its_kind():
    rows = re.findall(r"^\| ([A-E]\d+) \|.*\|([^|]*)\|$", FAULTS, re.MULTILINE)
    last = {"A": 13, "B": 18, "C": 4, "D": 14, "E": 9}
    assert [key for key, _ in rows] == [f"{k}{n + 1}" for k in last for n in range(last[k])]
    assert [key for key, tests in rows if len(set(re.findall(r"`(test_\w+)`", tests))) < 2] == []


def test_every_named_test_exists():
    named = set(re.findall(r"`(test_\w+)`", PAGE + FAULTS))
    known: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        known |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - known == set()
    assert len(named) > 100
