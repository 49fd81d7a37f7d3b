"""Wording of messages: suggestions for misspelled names, and counts."""

from __future__ import annotations

import pytest

from captune.suggest import did_you_mean, find_nearest, format_count


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("blip-tinny", "blip-tiny"),
        ("BLIP-TINY", "blip-tiny"),
        ("gti-tiny", "git-tiny"),
        ("xyz", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_found_in_any_letter_case(name: str, nearest: str | None) -> None:
    assert find_nearest(name, ["blip-tiny", "git-tiny"]) == nearest


def test_a_name_is_suggested_in_its_own_letter_case() -> None:
    assert find_nearest("photo.jpg", iter(["Photo.JPG", "other.png"])) == "Photo.JPG"


def test_the_suggestion_is_a_question_in_brackets() -> None:
    assert did_you_mean("cidre", ["cider", "meteor"]) == " (did you mean 'cider'?)"


def test_nothing_is_suggested_when_no_name_is_near() -> None:
    assert did_you_mean("xyz", ["cider", "meteor"]) == ""
    assert did_you_mean("cider", []) == ""


def test_a_suggestion_can_be_shown_in_another_form() -> None:
    assert did_you_mean("a.jgp", ["a.jpg"], show="photos/{}".format) == (
        " (did you mean photos/a.jpg?)"
    )


def test_counts_agree_with_their_noun() -> None:
    assert format_count(1, "image") == "1 image"
    assert format_count(1000, "image") == "1,000 images"
    assert format_count(0, "image") == "0 images"


def test_a_count_may_include_its_verb() -> None:
    assert format_count(1, "process is", plural="processes are") == "1 process is"
    assert format_count(2, "process is", plural="processes are") == "2 processes are"
