"""Words that differ between two captions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captune.evaluation.report.gallery.word_diff import mark_words


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    sides = mark_words(before, after, references=[])
    return tuple([w.text for w in side if w.changed] for side in sides)  # type: ignore[return-value]


def test_only_words_that_differ_are_marked() -> None:
    assert changed("a man in a field", "a dog in a field") == (["man"], ["dog"])


def test_case_and_punctuation_are_ignored() -> None:
    assert changed("A dog.", "a Dog") == ([], [])


def test_words_that_moved_are_marked() -> None:
    before, after = changed("red dog", "dog red")
    assert len(before) == 1
    assert before == after or {*before, *after} == {"red", "dog"}


def test_a_new_word_that_a_human_used_is_distinguished() -> None:
    _, after = mark_words("a man", "a red cow", references=["The RED, dog"])
    assert [(w.text, w.in_references) for w in after if w.changed] == [
        ("red", True),
        ("cow", False),
    ]


def test_an_empty_caption_has_no_words() -> None:
    assert mark_words("", "a dog", references=["x"])[0] == ()
    assert [w.changed for w in mark_words("", "a dog", references=[])[1]] == [True, True]


@given(
    st.lists(st.sampled_from(["a", "dog", "red", "."])),
    st.lists(st.sampled_from(["a", "cat", "red"])),
)
def test_unmarked_words_are_the_same_in_both_captions(one: list[str], two: list[str]) -> None:
    before, after = mark_words(" ".join(one), " ".join(two), references=[])
    assert [w.text for w in before if not w.changed] == [w.text for w in after if not w.changed]
    assert [w.text for w in before] == one
