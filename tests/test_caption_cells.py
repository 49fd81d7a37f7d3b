"""Lists, objects and bytes in the caption cells of a table."""

from __future__ import annotations

import time

import pytest

from captune.caption_cells import (
    NotTextError,
    is_empty_list,
    is_unfinished,
    list_texts,
    read_list_cell,
)


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("['a dog', 'a cat']", ("a dog", "a cat")),
        ('["a dog", "a cat"]', ("a dog", "a cat")),
        ("['a dog']", ("a dog",)),
        (
            "['the boat\\'s owner said \"wait\"', \"it's\"]",
            ('the boat\'s owner said "wait"', "it's"),
        ),
        ("['a dog' 'a cat']", ("a dog", "a cat")),
        ("['a dog'\n 'a cat']", ("a dog", "a cat")),
        ("array(['a dog', 'a cat'], dtype=object)", ("a dog", "a cat")),
        ("('a dog', 'a cat')", ("a dog", "a cat")),
        ("('a dog',)", ("a dog",)),
        ("{'a dog', 'a cat'}", ("a dog", "a cat")),
        ("set(['a dog'])", ("a dog",)),
        ("[['a dog'], ['a cat', 'a cow']]", ("a dog", "a cat", "a cow")),
        ("[('a dog', 'a cat')]", ("a dog", "a cat")),
        ("['a dog', None, nan]", ("a dog",)),
        ('["a dog", null]', ("a dog",)),
        ("  [ 'a dog' , ]  ", ("a dog",)),
        ('["caf\\u00e9 \\/ bar"]', ("café / bar",)),
        ("['caf\\xe9']", ("café",)),
        ("[u'a dog']", ("a dog",)),
        ("['two\nlines', 'x']", ("two\nlines", "x")),
        ("[np.str_('a dog'), np.str_('a cat')]", ("a dog", "a cat")),
        (r"['a \d dog']", (r"a \d dog",)),
        (r"[b'caf\xc3\xa9', b'a dog']", ("café", "a dog")),
    ],
)
def test_a_list_of_texts_is_read(cell: str, texts: tuple[str, ...]) -> None:
    assert read_list_cell(cell) == texts


@pytest.mark.parametrize(
    "cell",
    [
        "a dog",
        "[a dog, a cat]",
        "a sign that reads ['stop']",
        "['stop'] is written on a sign",
        "('stop')",
        "[]",
        "['a'] or ['b']",
        "(1)",
        "(1, 2",
        "'a dog'",
        "b'a' or b'c'",
        "[" * 100_000 + "]" * 100_000,
        "['never closed]",
        "",
    ],
)
def test_a_caption_with_brackets_or_quotes_stays_a_caption(cell: str) -> None:
    assert read_list_cell(cell) is None


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("{'raw': 'a dog', 'tokens': ['a', 'dog'], 'sentid': 3}", ("a dog",)),
        ('{"caption": "a dog", "good": true}', ("a dog",)),
        ("[{'caption': 'a dog'}, {'caption': 'a cat'}]", ("a dog", "a cat")),
        # numpy writes no commas.
        ("[{'Text': 'a dog'}\n {'Text': 'a cat'}]", ("a dog", "a cat")),
        (
            "{'sentids': [1, 2], 'sentences': [{'raw': 'a dog'}, {'raw': 'a cat'}]}",
            ("a dog", "a cat"),
        ),
        ("[{'text': 'a dog', 'score': nan}, None]", ("a dog",)),
        ("OrderedDict([('raw', 'a dog'), ('id', 3)])", ("a dog",)),
        ("array([{'raw': 'a dog'}], dtype=object)", ("a dog",)),
        ("b'a dog'", ("a dog",)),
    ],
)
def test_an_object_with_a_usual_key_and_bytes_are_read(cell: str, texts: tuple[str, ...]) -> None:
    assert read_list_cell(cell) == texts


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("{'en': 'a dog', 'de': 'ein Hund'}", "not an object without a key such as 'caption'"),
        ("[{'en': 'a dog'}]", "not an object without a key such as 'caption'"),
        ("{'caption': {'en': 'a dog'}}", "not an object without a key such as 'caption'"),
        ("[1, 2]", "not int: 1"),
        ("['a', 3]", "not int: 3"),
        ("(0.5, 'a')", "not float: 0.5"),
        ("[True]", "not bool: True"),
        (r"b'\xff\xfe'", "not bytes"),
    ],
)
def test_a_cell_with_values_that_are_no_captions_is_an_error(cell: str, what: str) -> None:
    with pytest.raises(NotTextError, match=what) as caught:
        read_list_cell(cell)
    assert "caption" in caught.value.fix


def test_a_missing_value_is_an_empty_text() -> None:
    assert list_texts(None) == list_texts(float("nan")) == ("",)
    assert list_texts(["a dog", None]) == ("a dog", "")


def test_a_list_that_was_cut_is_recognised() -> None:
    assert is_unfinished("['a dog on the beach', 'a cat on th")
    assert is_unfinished("{'raw': 'a dog")
    assert not is_unfinished("a dog")


def test_an_empty_list_is_recognised() -> None:
    assert is_empty_list("[]")
    assert is_empty_list(" array([], dtype=object) ")
    assert not is_empty_list("['a']")


def test_a_long_cell_that_is_almost_a_list_is_read_quickly() -> None:
    cell = "[" + "'a' " * 200_000 + "x]"
    start = time.perf_counter()
    assert read_list_cell(cell) is None
    # Quadratic backtracking would take hours.
    assert time.perf_counter() - start < 5.0
