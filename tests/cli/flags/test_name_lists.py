"""Lists of names in one flag."""

from __future__ import annotations

import pytest

from captune.cli.flags.name_lists import split_names
from captune.errors import CaptuneError


def test_names_are_split_at_commas() -> None:
    assert split_names("bleu, cider,") == ["bleu", "cider"]


@pytest.mark.parametrize("text", ["", " ", ",,"])
def test_a_list_without_names_is_refused(text: str) -> None:
    with pytest.raises(CaptuneError, match="a list of names is empty"):
        split_names(text)
