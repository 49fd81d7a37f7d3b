"""`--clean` has steps or no value; the next input is never taken for its value."""

from __future__ import annotations

from typing import get_args

import pytest

from captune.bulk.wording import CleanStep
from captune.cli.bulk.clean_flag import CLEAN_ALL, CLEAN_WORDS, fill_clean


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["m", "--clean", "photos"], ["m", "--clean=all", "photos"]),
        (["m", "photos", "--clean"], ["m", "photos", "--clean=all"]),
        (["m", "--clean", "--to", "txt"], ["m", "--clean=all", "--to", "txt"]),
        (["m", "--clean", "repeat", "photos"], ["m", "--clean", "repeat", "photos"]),
        (["m", "--clean", "boilerplate,repeat"], ["m", "--clean", "boilerplate,repeat"]),
        (["m", "--clean=repeat", "photos"], ["m", "--clean=repeat", "photos"]),
        (["m", "--clean", "--", "all"], ["m", "--clean=all", "--", "all"]),
        (["m", "--", "--clean"], ["m", "--", "--clean"]),
    ],
)
def test_the_flag_alone_means_all_steps(words: list[str], read: list[str]) -> None:
    assert fill_clean(words) == read


def test_every_step_is_known() -> None:
    assert (CLEAN_ALL, *get_args(CleanStep)) == CLEAN_WORDS
