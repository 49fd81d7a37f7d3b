"""Prefix, suffix, template, limit and cleaning change a caption as documented."""

from __future__ import annotations

import pytest

from captune.bulk import Wording, read_clean_steps
from captune.errors import RecipeError


def test_without_settings_the_caption_is_unchanged():
    assert Wording().change(" a dog {name} ", "photos/rex.jpg") == " a dog {name} "


def test_prefix_and_suffix_are_added_unchanged():
    assert Wording(prefix="sks, ", suffix=".").change("a dog", "rex.jpg") == "sks, a dog."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photos/summer/rex.jpg", "summer|rex"),
        ("rex", "|rex"),
        ("C:\\photos\\rex.tar.jpg", "photos|rex.tar"),
        ("https://example.org/a%20b/rex.jpg?size=9", "a b|rex"),
        ("https://[bad/a/rex.jpg", "a|rex"),
        ("shard-0.tar/0001.png", "shard-0.tar|0001"),
        ("photos/.jpg", "photos|.jpg"),
        ("a\nb/not\udcff.jpg", "a b|not\ufffd"),
    ],
)
def test_a_template_can_use_the_names_of_the_folder_and_the_file(name, expected):
    assert Wording(template="{folder}|{name}: {caption}").change("a dog", name) == (
        f"{expected}: a dog"
    )


def test_doubled_braces_are_literal_and_values_are_not_read_as_templates():
    wording = Wording(template="{{{caption}}}", prefix="{name}")
    assert wording.change("{folder}", "a/b.jpg") == "{name}{{folder}}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{capton}", r"no field \{capton\} \(did you mean 'caption'\?\)"),
        ("{caption.__class__}", r"no field \{caption.__class__\}"),
        ("{caption[0]}", r"no field \{caption\[0\]\}"),
        ("{caption!r}", r"no field \{caption!r\}"),
        ("{caption:>99999999999}", r"no field \{caption:>99999999999\}"),
        ("{}", r"no field \{\}"),
        ("{0}", r"no field \{0\}"),
        ("{caption", "cannot be read"),
        ("{name}", r"has no \{caption\}"),
        ("", r"has no \{caption\}"),
    ],
)
def test_a_template_with_another_field_is_refused(template, message):
    with pytest.raises(RecipeError, match=message) as caught:
        Wording(template=template)
    assert caught.value.where == "--template"
    assert "{caption}" in caught.value.fix or "{{" in caught.value.fix


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(100, "sks, a red dog runs."), (16, "sks, a red dog."), (11, "sks, a red."), (7, "sks, a.")],
)
def test_max_chars_cuts_the_caption_and_keeps_the_text_around_it(limit, expected):
    wording = Wording(prefix="sks, ", suffix=".", max_chars=limit)
    assert wording.change("a red dog runs", "rex.jpg") == expected
    assert len(expected) <= limit


def test_max_chars_holds_for_a_template_with_two_captions_and_a_long_name():
    wording = Wording(template="{name}: {caption} ({caption})", max_chars=30)
    assert wording.change("a red dog runs", "rex.jpg") == "rex: a red dog (a red dog)"
    assert len(wording.change("a red dog runs", "x" * 200)) == 30


def test_max_chars_too_small_for_a_caption_is_refused():
    with pytest.raises(RecipeError, match="5 characters leave no room for a caption") as caught:
        Wording(prefix="sks, ", max_chars=5)
    assert caught.value.fix == "use 6 or more"
    with pytest.raises(RecipeError, match="0 characters leave no room"):
        Wording(max_chars=0)


def test_cleaning_runs_before_template_and_limit():
    wording = Wording(template="photo: {caption}", max_chars=25, clean=("boilerplate", "repeat"))
    caption = "there is a red dog and a red dog and a red dog and"
    assert wording.change(caption, "rex.jpg") == "photo: a red dog"


def test_only_the_chosen_cleaning_steps_run():
    caption = "a picture of a dog and a dog and a dog"
    assert Wording(clean=("boilerplate",)).change(caption, "x") == "a dog and a dog and a dog"
    assert Wording(clean=("repeat",)).change(caption, "x") == "a picture of a dog"


@pytest.mark.parametrize("caption", ["", " ", "\n"])
def test_a_caption_without_text_gives_no_text_despite_a_prefix(caption):
    assert Wording(prefix="sks ").change(caption, "rex.jpg") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("boilerplate", "repeat")),
        ("repeat", ("repeat",)),
        ("repeat, boilerplate", ("boilerplate", "repeat")),
    ],
)
def test_the_steps_of_clean_are_read(text, expected):
    assert read_clean_steps(text) == expected


def test_a_step_of_clean_that_does_not_exist_is_refused():
    with pytest.raises(RecipeError, match=r"cannot remove 'repeats' \(did you mean 'repeat'"):
        read_clean_steps("repeats")
