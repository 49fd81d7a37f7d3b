"""Escaping of untrusted text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.text_safety import (
    clean_text,
    escape_cell,
    escape_markdown,
    escape_markup,
    escape_script_json,
    escape_steering,
    escape_terminal,
    escape_terminal_lines,
    quote_bytes,
    shorten_words,
    unescape_cell,
)


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
def test_deceptive_characters_are_dropped_and_the_rest_is_kept(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_clean_text_can_be_encoded_and_stays_clean(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned
    assert not set(cleaned) & set("\x00\x1b\n\r\u202e")


@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"]
)
def test_a_formula_becomes_text(start: str) -> None:
    assert escape_cell(start) == "'" + start


def test_a_plain_cell_stays_unchanged() -> None:
    assert escape_cell('a "dog" = one') == 'a "dog" = one'


def test_a_nul_before_a_formula_does_not_hide_it() -> None:
    assert escape_cell("\x00=HYPERLINK(1)") == "'=HYPERLINK(1)"


def test_many_words_are_shortened_with_an_ellipsis() -> None:
    assert shorten_words("one two three", 2) == "one two …"
    assert shorten_words("one  two", 2) == "one  two"


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_a_cell_is_read_back_unchanged(text: str) -> None:
    assert unescape_cell(escape_cell(text)) == text
    assert unescape_cell(escape_cell(f"'={text}")) == f"'={text}"


def test_a_cell_keeps_bytes_of_file_names_and_replaces_other_lone_surrogates() -> None:
    assert escape_cell("a\udcff.jpg") == "a\udcff.jpg"
    assert escape_cell("half \ud800") == "half \ufffd"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\n\x1b[2J\u202e.jpg", "a\\n\\x1b[2J\\u202e.jpg"),
        ("bell\x07 tab\t c1\x9b2J", "bell\\x07 tab\\t c1\\x9b2J"),
        ("\u2066isolated\u2069 \u2028line", "\\u2066isolated\\u2069 \\u2028line"),
        ("émoji 🦊 שלום", "émoji 🦊 שלום"),
    ],
)
def test_text_cannot_steer_the_terminal(raw: str, shown: str) -> None:
    assert escape_terminal(raw) == escape_steering(raw) == shown


def test_bytes_that_are_not_utf_8_are_escaped_unless_the_stream_writes_them() -> None:
    assert escape_terminal("a\udcff") == "a\\udcff"
    assert escape_steering("a\udcff") == "a\udcff"


def test_a_message_keeps_its_lines_and_no_other_control() -> None:
    assert escape_terminal_lines("one\r\ntwo\x1b[1m") == "one\\r\ntwo\\x1b[1m"


def test_markup_is_escaped_and_controls_are_dropped() -> None:
    assert escape_markup("<b a='1'>&\x1b[1m") == "&lt;b a=&#x27;1&#x27;&gt;&amp;[1m"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("- a list", "\\- a list"),
        ("black-and-white", "black-and-white"),
        ("# heading", "\\# heading"),
        ("[link](javascript:1)", "\\[link\\](javascript:1)"),
        ("![x](http://a/b)", "!\\[x\\]"),
        ("1. item", "1\\. item"),
        ("two\n\nlines", "two lines"),
        ("    code", "code"),
        ("a | b", "a \\| b"),
        ("a dog, on the beach.", "a dog, on the beach."),
    ],
)
def test_markdown_shows_untrusted_text_literally(raw: str, shown: str) -> None:
    assert shown in escape_markdown(raw)
    assert "<" not in escape_markdown(raw)


def test_no_text_in_json_ends_the_script_that_holds_it_and_all_of_it_is_kept() -> None:
    data = {"caption": "</script><!-- & \u2028 é 猫", "mean": 0.5, "none": None}
    text = escape_script_json(data)
    assert text.isascii()
    assert not {"<", "&"} & set(text)
    assert json.loads(text) == data


def test_json_for_a_script_has_no_numbers_that_json_does_not_know() -> None:
    with pytest.raises(ValueError, match="JSON"):
        escape_script_json([float("nan")])


def test_the_first_bytes_of_a_file_are_shown_as_text_or_in_hexadecimal() -> None:
    assert quote_bytes(b"<!doctype html>\r\n<") == "'<!doctype html> <'"
    # A character that is cut in two.
    assert quote_bytes("né".encode()[:2]) == "'n'"
    assert quote_bytes(b"\x00\x01PK") == "the bytes 00 01 50 4b"
    assert quote_bytes(b"") == "nothing"
