"""Wording of messages: suggestions for misspelled names, counts and sizes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from captune.suggest import (
    did_you_mean,
    find_nearest,
    format_bytes,
    format_count,
    format_memory,
    quote_words,
)


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


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 byte"), (0.4, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")],
)
def test_sizes_on_disk_have_readable_units(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_memory_is_in_binary_units() -> None:
    assert format_memory(2**30) == "1.0 GiB"
    assert format_memory(95 * 2**20) == "95 MiB"


def test_words_of_a_command_are_quoted_for_the_shell_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("captune", "caption", "a b.jpg", r"C:\models\x")
    assert quote_words(*words) == r"captune caption 'a b.jpg' 'C:\models\x'"
    monkeypatch.setattr("captune.suggest.os", SimpleNamespace(name="nt"))
    assert quote_words(*words) == r'captune caption "a b.jpg" C:\models\x'
