"""Flags of captions that need a look."""

from __future__ import annotations

import pytest

from captune.inference.decoding.quality import flag_caption


@pytest.mark.parametrize("caption", ["", " ", "\n\t"])
def test_a_caption_without_text_is_empty(caption):
    assert flag_caption(caption) == ("empty",)


@pytest.mark.parametrize(
    "caption",
    [
        "the the the",
        "a dog dog dog dog",
        "red car red car red car",
        "a man in a red hat in a red hat",
        "on the grass on the grass on the grass",
    ],
)
def test_a_caption_that_repeats_itself_is_flagged(caption):
    assert flag_caption(caption) == ("repetition",)


@pytest.mark.parametrize(
    "caption",
    [
        "a dog",
        "a very very big dog",
        "a red car and a blue car and a bus",
        "black and white photo of a black and white dog",
        "side by side",
    ],
)
def test_a_caption_that_repeats_words_as_people_do_is_not_flagged(caption):
    assert flag_caption(caption) == ()
