"""The frozen Porter2 stemmer: examples of its description, and words it must not move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.metrics.meteor.stem import stem

STEMS = {
    # From the description of the algorithm.
    **{"consign": "consign", "consigned": "consign", "consigning": "consign"},
    **{"consistency": "consist", "consolation": "consol", "consolatory": "consolatori"},
    **{"knackeries": "knackeri", "knavish": "knavish", "knightly": "knight", "knots": "knot"},
    **{"ties": "tie", "cries": "cri", "gaps": "gap", "gas": "gas", "this": "this", "kiwis": "kiwi"},
    **{"luxuriated": "luxuri", "hopping": "hop", "hoping": "hope", "falling": "fall"},
    **{"cry": "cri", "by": "by", "say": "say", "generate": "generat", "general": "general"},
    **{"generic": "generic", "communism": "communism", "arsenal": "arsenal"},
    # Special words.
    **{"skis": "ski", "skies": "sky", "dying": "die", "news": "news", "inning": "inning"},
    **{"proceed": "proceed", "proceeds": "proceed", "only": "onli", "early": "earli"},
    # Words that later Snowball releases stem otherwise; frozen as the jar has them.
    **{"evening": "even", "university": "univers", "organized": "organ", "paste": "past"},
    **{"emergency": "emerg", "international": "intern", "organization": "organ"},
    # Endings one after the other, as the jar answers.
    **{"realization": "realiz", "irrationally": "irrat", "theorizer": "theoriz"},
    # Not quite words.
    **{"": "", "a": "a", "'": "'", "yy": "yy", "o'clock": "o'clock", "1980s": "1980s", "ß": "ß"},
}


@pytest.mark.parametrize(("word", "expected"), STEMS.items())
def test_a_word_has_the_stem_of_the_jar(word: str, expected: str) -> None:
    assert stem(word) == expected


@given(st.text(max_size=12))
def test_any_word_has_a_stem_that_is_at_most_one_letter_longer(word: str) -> None:
    assert len(stem(word)) <= len(word) + 1
