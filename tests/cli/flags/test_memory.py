"""`--memory`: amounts with units."""

from __future__ import annotations

import pytest

from captune.cli.flags.memory import parse_memory
from captune.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * 10**9), ("1.5 gib", 3 * 2**29), ("800MB", 8 * 10**8), ("2TiB", 2**41)],
)
def test_an_amount_with_a_unit_is_read(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["24", "GB", "-1GB", "0GB", "24 gigs", "", "1e3GB", "٣GB0", "9" * 5000 + "GB"]
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecipeError, match="is not an amount of memory") as error:
        parse_memory(text)
    assert "24GB" in error.value.fix
