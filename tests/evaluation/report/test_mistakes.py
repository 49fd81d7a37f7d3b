"""Mistakes that the words of captions show."""

from __future__ import annotations

import pytest

from captune.evaluation.report.words.mistake_groups import MistakeGroup, Tally, describe_result
from captune.evaluation.report.words.mistakes import Mistake, find_mistakes, learn_things
from captune.evaluation.report.words.word_lists import singular

THINGS = frozenset({"star", "circle", "dog", "ball", "boat"})


def found(caption: str, *references: str) -> list[tuple[str, str, str]]:
    mistakes = find_mistakes(caption, references, things=THINGS)
    return [(mistake.kind, mistake.said, mistake.wanted) for mistake in mistakes]


@pytest.mark.parametrize(
    ("caption", "references", "expected"),
    [
        ("a blue star", ["a red star", "one red star"], ("colour", "blue", "red")),
        ("a blue dog", ["a red star and a blue dog", "a dog"], ("missing", "", "star")),
        ("two dogs", ["three dogs", "three dogs play"], ("count", "two", "three")),
        ("two dogs", ["a dog", "one dog in the grass"], ("count", "two", "one")),
        (
            "a dog on a boat",
            ["a dog with a ball", "a dog and a ball"],
            ("object", "boat", "sports ball"),
        ),
        ("a dog on a boat", ["a dog", "the dog"], ("invented", "boat", "")),
        ("a dog", ["a dog with a star", "a star and a dog"], ("missing", "", "star")),
        ("a grey star", ["a gray star", "a star"], None),
    ],
)
def test_each_kind_of_mistake_is_found(
    caption: str, references: list[str], expected: tuple[str, str, str] | None
) -> None:
    assert found(caption, *references) == ([] if expected is None else [expected])


def test_a_colour_belongs_to_the_thing_that_follows_it() -> None:
    # Both colours occur in the human caption, but not on this thing.
    assert found("a blue star", "a red star and a blue circle") == [
        ("missing", "", "circle"),
        ("colour", "blue", "red"),
    ]


def test_words_for_one_class_of_objects_are_no_mistake() -> None:
    assert found("a puppy", "a dog", "the dog") == []


def test_an_orange_star_is_no_fruit() -> None:
    assert found("an orange star", "an orange star", "the star is orange") == []


def test_a_thing_that_only_one_of_three_humans_names_is_not_missing() -> None:
    assert found("a dog", "a dog", "a dog", "a dog and a boat") == []


def test_things_are_learned_from_where_words_stand() -> None:
    captions = ["a red star is on the left", "the star", "two small boats", "a boat in the middle"]
    assert learn_things([*captions, "the boat", "he runs in a park"]) == {"star", "boat"}


def test_captions_in_other_languages_have_no_things_and_no_mistakes() -> None:
    captions = ["ein roter Stern steht links", "der Stern", "一只猫在草地上"]
    things = learn_things(captions)
    assert things == frozenset()
    assert find_mistakes("ein blauer Stern", captions, things=things) == ()


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (Mistake("colour", "blue", "red"), "“blue” instead of “red”"),
        (Mistake("missing", "", "dog"), "no “dog”"),
        (Mistake("invented", "dog", ""), "“dog”"),
    ],
)
def test_a_mistake_reads_as_a_few_words(mistake: Mistake, text: str) -> None:
    assert mistake.text == text


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        *(("leaves", "leaf"), ("gloves", "glove"), ("buses", "bus"), ("horses", "horse")),
        *(("cookies", "cookie"), ("puppies", "puppy"), ("ties", "tie"), ("cacti", "cactus")),
        *(("boxes", "box"), ("glasses", "glass"), ("lens", "lens"), ("clothes", "clothes")),
        *(("grass", "grass"), ("bus", "bus"), ("men", "man"), ("potatoes", "potato")),
    ],
)
def test_a_plural_and_its_singular_are_one_word(plural: str, expected: str) -> None:
    assert singular(plural) == expected
    assert singular(expected) == expected


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (
            Mistake("missing", "", "boat"),
            "Typical mistake: missing object (7 images), such as “boat”.",
        ),
        (
            Mistake("object", "cat", "dog"),
            "Typical mistake: wrong object (7 images), such as “cat” instead of “dog”.",
        ),
    ],
)
def test_the_typical_mistake_is_named_with_its_most_frequent_example(
    mistake: Mistake, expected: str
) -> None:
    label = {"missing": "Missing object", "object": "Wrong object"}[mistake.kind]
    group = MistakeGroup(mistake.kind, label, "", (Tally(7, "", 0.0),), "", ((mistake, 3),))
    assert describe_result([group], "") == expected
