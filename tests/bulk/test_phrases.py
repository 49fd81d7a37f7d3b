"""Habitual phrases and repeats are trimmed, and texts are cut between words, in every script."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captune.bulk.phrases import cut_at_word, trim_boilerplate, trim_repeats


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("arafed image of a man in a suit", "a man in a suit"),
        ("there is a arafed dog on the beach", "a dog on the beach"),
        ("an arafed cat and an araffed orange bird", "a cat and an orange bird"),
        ("a picture of a dog", "a dog"),
        ("A close-up photo of a dog.", "A dog."),
        ("There is a man that is holding a cup", "A man holding a cup"),
        ("there are two dogs that are playing in the snow", "two dogs playing in the snow"),
        ("this is a picture of an image of a horse", "a horse"),
        ("The image shows a red car parked near a tree.", "A red car parked near a tree."),
    ],
)
def test_habitual_phrases_of_captioners_are_trimmed(caption, expected):
    assert trim_boilerplate(caption) == expected


@pytest.mark.parametrize(
    "caption",
    [
        "a dog with a picture of a cat",
        "a black and white photo of a man",
        "a man who is holding a cup",
        "arafed",
        "a picture",
        "there is",
        "photographers of a newspaper",
        "",
    ],
)
def test_a_caption_without_habitual_phrases_or_with_nothing_else_is_kept(caption):
    assert trim_boilerplate(caption) == caption


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog and a dog and a dog and", "a dog"),
        ("a dog and a cat and a dog and a cat and a dog", "a dog and a cat"),
        ("a dog on the beach with a dog on the beach with a dog on", "a dog on the beach"),
        ("A man, a man, a man.", "A man."),
        ("the the the dog", "the dog"),
        ("A dog, a dog on the grass", "A dog on the grass"),
        ("ein Hund und ein Hund und ein Hund", "ein Hund"),
        ("собака и собака и собака и", "собака"),
        ("一只狗一只狗一只狗在海滩", "一只狗在海滩"),
    ],
)
def test_a_phrase_repeated_in_a_row_is_kept_once(caption, expected):
    assert trim_repeats(caption) == expected


@pytest.mark.parametrize(
    "caption",
    ["a very very big dog", "face to face", "慢慢地走", "商量商量", "a dog  by   a cat", ""],
)
def test_doubled_words_that_people_write_are_kept(caption):
    assert trim_repeats(caption) == caption


def test_a_long_caption_without_repeats_is_searched_quickly():
    caption = " ".join(f"word{n % 97}x{n % 89}" for n in range(3000))
    started = time.process_time()
    assert trim_repeats(caption) == caption
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("a red dog on the beach", 10, "a red dog"),
        ("a red dog on the beach", 9, "a red dog"),
        ("a red dog, on", 10, "a red dog"),
        ("hello (world)", 7, "hello"),
        ("supercalifragilistic", 8, "supercal"),
        ("一只狗在海滩上奔跑", 5, "一只狗在海"),
        ("一只狗，在海滩", 4, "一只狗"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301"),
        ("🇩🇪🇫🇷", 3, "🇩🇪"),
        ("👍🏽👍🏽", 3, "👍🏽"),
        ("short", 5, "short"),
    ],
)
def test_a_text_is_cut_at_the_end_of_a_word_or_of_a_character(text, limit, expected):
    assert cut_at_word(text, limit) == expected


@given(st.text(max_size=40), st.integers(1, 50))
def test_a_truncated_text_is_a_prefix_that_fits(text, limit):
    cut = cut_at_word(text, limit)
    assert len(cut) <= limit
    assert text.startswith(cut)


@given(st.lists(st.sampled_from(["a", "dog", "and", "狗", "the,", ""]), max_size=30))
def test_trimming_twice_equals_trimming_once_and_never_leaves_an_empty_text(words):
    caption = " ".join(words)
    trimmed = trim_repeats(caption)
    assert bool(trimmed.strip()) == bool(caption.strip())
    assert set(trimmed.split()) <= set(caption.split()) | {w.rstrip(",") for w in words}
