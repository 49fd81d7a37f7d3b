"""The sentence of the report about images that occur twice."""

from __future__ import annotations

import pytest

from captune.pipeline.stages.duplicates import describe_duplicates

EXACT, NEAR, GROUP, GIVEN = ({"kind": kind} for kind in ("exact", "near", "group", "given"))


@pytest.mark.parametrize(
    ("leaks", "start"),
    [
        ([NEAR, EXACT, GROUP, EXACT], "The same image is in two splits (2 cases), which makes"),
        ([GROUP, NEAR], "Nearly the same image is in two splits (1 case), which can make"),
        ([GROUP] * 15, "Images of one group are in two splits (15 cases), which can make"),
    ],
)
def test_the_worst_leak_is_named_with_its_cases(leaks: list[object], start: str) -> None:
    assert describe_duplicates({"leaks": leaks, "near_duplicates": [["a", "b"]]}).startswith(start)


def test_groups_of_alike_images_are_counted_if_no_split_leaks() -> None:
    near = {"leaks": [GIVEN], "near_duplicates": [["a", "b"], ["c", "d", "e"]]}
    assert describe_duplicates(near) == "Images look nearly the same: 2 groups."
    both = {"exact_duplicates": [["a", "b"]], "near_duplicates": [["c", "d"]]}
    assert describe_duplicates(both) == "Images look the same or nearly the same: 2 groups."


@pytest.mark.parametrize(
    "found", [{}, {"leaks": None, "near_duplicates": 3}, {"leaks": [[], {"kind": []}]}]
)
def test_clean_or_damaged_findings_give_no_sentence(found: dict[str, object]) -> None:
    assert describe_duplicates(found) == ""
