"""METEOR's own clean-up, case by case as the jar answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.metrics.meteor.captions import Captions
from captune.metrics.meteor.normalize import normalize, normalize_captions
from captune.metrics.packed import Vocabulary, pack_tokens

PREFIXES = frozenset(["Mr", "v"])
CASES = {
    "a man on a horse": "a man on a horse",
    "A Man": "a man",
    # Hyphens fall; the expression eats the letters on both sides, so every other one stays.
    "t-shirt a-b-c ab-cd-ef 24-hour": "t shirt a b-c ab cd ef 24 hour",
    "a--b a---b -a a- - --": "a b a---b -a a- - -",
    "a.-b": "a. b",
    # Full stops.
    "u.s. p.m. a.b. u.s a.b road.the": "us pm ab u.s a.b road.the",
    "st. the st. 5 st.": "st. the st . 5 st .",
    "Mr. X v. 5 etc. end.": "mr. x v. 5 etc. end .",
    "1.5 .5 5. a..b ... ..": "1.5 .5 5. a .. b ... ..",
    # Commas and other marks.
    "1,000 a,b 5,a ,5": "1,000 a , b 5 , a , 5",
    "a/b 10:30 a_b #a @b 5% $5 a&b": "a / b 10 : 30 a _ b # a @ b 5 % $ 5 a & b",
    "-lrb- !! <a>": "-lrb- ! ! < a >",
    # Apostrophes.
    "it 's do n't o'clock dogs ' 5's '50s": "it ' s do n 't o 'clock dogs ' 5 's ' 50s",
    "`a' ``b'' “c” o’clock": '\' a \' " b " " c " o \'clock',
    # Letters that it knows are Latin and Cyrillic; all others stand alone.
    "café мир 日本 ½ – a–b": "café мир 日 本 ½ - a - b",
    "1\u00a01/2": "1 1 / 2",
    "": "",
}


@pytest.mark.parametrize(("caption", "expected"), CASES.items())
def test_a_caption_is_cleaned_as_the_jar_cleans_it(caption: str, expected: str) -> None:
    assert normalize(caption, PREFIXES) == expected.split(" ") * bool(expected)


@given(st.text())
def test_any_text_gives_words_without_spaces(text: str) -> None:
    for word in normalize(text, PREFIXES):
        assert word
        assert not set(word) & set(" \t\u00a0\u2003\u3000")


def test_captions_are_cleaned_together_as_each_is_alone() -> None:
    captions = [
        ["a", "b-c", "d"],
        [],
        ["plain", "words"],
        ["it", "'s", "st.", "x"],
        ["a"],
        ["", "b"],
    ]
    captions += [["u.s.", "a"], ["x|||y", "a  b"]]
    vocabulary = Vocabulary()
    packed = Captions.of_packed(pack_tokens(captions, vocabulary))
    for hypotheses in (False, True):
        cleaned = normalize_captions(packed, vocabulary, prefixes=PREFIXES, hypotheses=hypotheses)
        names = list(vocabulary)
        words = np.split(cleaned.words, cleaned.starts[1:-1])
        texts = [" ".join(caption) for caption in captions]
        if hypotheses:
            texts = [text.replace("|||", "").replace("  ", " ") for text in texts]
        assert [[names[word] for word in own] for own in words] == [
            normalize(text, PREFIXES) for text in texts
        ]
