"""Text that comes from strangers and from models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.evaluation.plain_text import clean_text, shorten_words, spreadsheet_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a dog", "a dog"),
        ("a\x00dog\x1b[31m", "adog[31m"),
        ("exe\u202egnp", "exegnp"),
        ("\u2066left\u2069", "left"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("two\nlines\r\nand\u2028more\ttabs", "two lines and more tabs"),
        ("כלב על החוף \u200f!", "כלב על החוף \u200f!"),
    ],
)
def test_what_deceives_is_dropped_and_the_rest_is_kept(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_clean_text_can_be_encoded_and_stays_clean(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned
    assert not set(cleaned) & set("\x00\x1b\n\r\u202e")


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_formula_becomes_text(start: str) -> None:
    assert spreadsheet_text(start) == "'" + start


def test_a_plain_cell_stays_as_it_is() -> None:
    assert spreadsheet_text('a "dog" = one') == 'a "dog" = one'


def test_a_nul_before_a_formula_does_not_hide_it() -> None:
    assert spreadsheet_text("\x00=HYPERLINK(1)") == "'=HYPERLINK(1)"


def test_many_words_are_cut_with_an_ellipsis() -> None:
    assert shorten_words("one two three", 2) == "one two …"
    assert shorten_words("one  two", 2) == "one  two"
