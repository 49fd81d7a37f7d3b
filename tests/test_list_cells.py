"""Lists written as text in the cells of a table."""

from __future__ import annotations

import time

import pytest

from captune.list_cells import is_empty_list, read_list_cell


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
    ],
)
def test_a_list_of_texts_is_read(cell: str, texts: tuple[str, ...]) -> None:
    assert read_list_cell(cell) == texts


@pytest.mark.parametrize(
    "cell",
    [
        "a dog",
        "[a dog, a cat]",
        "[1, 2]",
        "a sign that reads ['stop']",
        "['stop'] is written on a sign",
        "('stop')",
        "[]",
        "['a', 3]",
        "['a'] or ['b']",
        "[{'caption': 'a dog'}]",
        "['never closed]",
        "",
    ],
)
def test_a_caption_with_brackets_or_quotes_stays_a_caption(cell: str) -> None:
    assert read_list_cell(cell) is None


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
